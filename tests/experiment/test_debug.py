"""`debug=fast` goes once through everything."""

import csv

from tests.experiment.tiny import TINY, run

# Without what the debug config sets itself.
SMALL = [option for option in TINY if not option.startswith("trainer.")]


def test_fast_does_one_step(tmp_path):
    run("train.py", *SMALL, "debug=fast", "trainer.log_every_n_steps=1", folder=tmp_path)
    (curves,) = tmp_path.glob("outputs/debug/*/csv/version_0/metrics.csv")
    assert (curves.parents[2] / "report.html").is_file()
    with curves.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["train/loss"]) for row in rows) == 1
    assert any(row["val/refined_mIoU"] for row in rows)
