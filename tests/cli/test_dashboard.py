"""The wandb page, as far as it can be made without an account."""

from pathlib import Path

import pytest

from spatialprop.cli.dashboard import make_dashboard
from spatialprop.data import LabelSet
from spatialprop.experiment import wandb_logging
from spatialprop.nn.guidance import LightGuidance
from spatialprop.tasks import Parts, Refine


@pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # wandb-workspaces' own
def test_the_page_shows_what_runs_log():
    page = make_dashboard("somebody", "spatialprop")
    curves, scores, pictures, axes = set(), set(), set(), []
    for section in page.sections:
        for panel in section.panels:
            if isinstance(lines := getattr(panel, "y", None), list):
                curves |= set(map(str, lines))
            scores |= {metric.name for metric in getattr(panel, "metrics", [])}
            pictures |= set(getattr(panel, "media_keys", []))
            axes += getattr(panel, "columns", [])
    assert {Refine(Parts(LabelSet("two", ("a", "b")), guidance=LightGuidance)).monitor, "train/loss"} <= curves
    assert {"test/refined/mIoU", "test/coarse/mIoU"} <= scores
    source = Path(wandb_logging.__file__).read_text()
    assert all(key in source for key in pictures)
    assert len(axes) > 3, "no parallel coordinates"
    assert page.runset_settings.filters
