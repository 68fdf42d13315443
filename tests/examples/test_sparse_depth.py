"""The example of another value task learns something."""

import pytest

from tests.examples.test_segmenters import load
from tests.tasks.tiny import QUIET

pytestmark = [pytest.mark.slow, *QUIET]


@pytest.mark.filterwarnings("ignore")
def test_depth_is_filled_in():
    task = load("sparse_depth").main(images=64, epochs=2)
    assert task.results["refined"]["MAE"] < 0.6 * task.results["coarse"]["MAE"]
