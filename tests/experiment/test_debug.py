"""The ways to look into a run that goes wrong: quickly through everything, one batch by heart, where the time goes."""

import csv
import re
from pathlib import Path

import pytest

from tests.experiment.tiny import TINY, run

pytestmark = pytest.mark.slow

# Without what the debug configs set themselves.
SMALL = [option for option in TINY if not option.startswith("trainer.")]


def debugged(folder: Path, debug: str, *options: str) -> tuple[list[dict[str, str]], str]:
    """What such a run logged, and what it said."""
    done = run("train.py", *SMALL, f"debug={debug}", *options, "trainer.log_every_n_steps=1", folder=folder)
    (curves,) = folder.glob("outputs/debug/*/csv/version_0/metrics.csv")
    assert (curves.parents[2] / "report.html").is_file()
    with curves.open(newline="") as file:
        return list(csv.DictReader(file)), done.stdout + done.stderr


def losses(rows: list[dict[str, str]]) -> list[float]:
    return [float(row["train/loss"]) for row in rows if row["train/loss"]]


def test_fast_does_one_step(tmp_path):
    rows, _ = debugged(tmp_path, "fast")
    assert len(losses(rows)) == 1
    assert any(row["val/refined_mIoU"] for row in rows)


def test_overfit_learns_a_batch_by_heart(tmp_path):
    # The segmenter: what little a propagation can change of a coarse map would not tell one batch from many.
    rows, _ = debugged(tmp_path, "overfit", "task=segment", "optimizer.lr=0.01")
    course = losses(rows)
    assert len(course) == 200
    assert course[-1] < 0.3 * course[0]


def test_profile_says_where_the_time_goes(tmp_path):
    _, said = debugged(tmp_path, "profile")
    assert re.search(r"run_training_batch\s*\|", said)
    assert re.search(r"optimizer_step\s*\|", said)
