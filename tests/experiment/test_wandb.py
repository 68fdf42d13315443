"""Runs on wandb, offline."""

import pytest

from tests.experiment.tiny import TINY, run


def test_offline_runs_need_no_account(tmp_path):
    done = run("train.py", "--multirun", *TINY, "logger=wandb", "seed=1,2", folder=tmp_path)
    assert "Error" not in done.stderr
    kept = list(tmp_path.glob("multirun/*/*/wandb/offline-run-*/*.wandb"))
    assert len(kept) == 2, "each job of a multirun is a run of its own"
    for path in kept:
        stored = path.read_bytes()
        for name in (b"val/refined_mIoU", b"test/comparison", b"test/examples", b"report-"):
            assert name in stored


@pytest.mark.parametrize("summary", [b"max"])
def test_the_best_score_is_the_summary(tmp_path, summary):
    run("train.py", *TINY, "logger=wandb", folder=tmp_path)
    (path,) = tmp_path.glob("outputs/*/*/wandb/offline-run-*/*.wandb")
    assert summary in path.read_bytes()
