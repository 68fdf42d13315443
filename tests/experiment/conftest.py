"""A run that is made once."""

from pathlib import Path

import pytest

from spatialprop.experiment.training import train
from tests.experiment.tiny import composed, tiny_here


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The folder of a tiny run, which no test may change."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(composed("train", *tiny_here()), folder)
    return folder
