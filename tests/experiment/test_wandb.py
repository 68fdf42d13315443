"""Runs on wandb, offline."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from tests.experiment.tiny import TINY, run

pytestmark = pytest.mark.slow

BLOCK, PREFIX = 32768, 7  # the log's blocks, and the head of the file and of each piece of a record
WHOLE, FIRST, LAST = 1, 2, 4


def records(path: Path) -> Iterator[Any]:
    """What wandb would send, once it is asked to."""
    stored = path.read_bytes()
    place, parts = PREFIX, b""
    while place + PREFIX <= len(stored):
        if BLOCK - place % BLOCK < PREFIX:  # no piece begins so near a block's end
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", stored, place)
        part = stored[place + PREFIX : place + PREFIX + length]
        place += PREFIX + length
        parts = part if kind in (WHOLE, FIRST) else parts + part
        if kind in (WHOLE, LAST):
            yield Record.FromString(parts)


def test_offline_runs_need_no_account(tmp_path):
    """Nor does a job go on in the run of the one before, not even of one that failed."""
    run(
        "train.py", "--multirun", *TINY, "logger=wandb", "task=joint", "trainer.limit_train_batches=0.5,1.0",
        folder=tmp_path, expect=1,
    )  # fmt: skip
    kept = list(tmp_path.glob("multirun/*/*/wandb/offline-run-*/*.wandb"))
    assert len(kept) == 2, "each job of a multirun is a run of its own"
    failed, finished = (path.read_bytes() for path in sorted(kept, key=lambda path: path.parents[2].name))
    for name in (b"val/refined_mIoU", b"test/comparison", b"test/examples", b"report-"):
        assert name in finished
    assert b"test/comparison" not in failed


def test_the_best_score_is_the_summary(tmp_path):
    run("train.py", *TINY, "logger=wandb", folder=tmp_path)
    (path,) = tmp_path.glob("outputs/*/*/wandb/offline-run-*/*.wandb")
    defined = {record.metric.name: record.metric for record in records(path) if record.HasField("metric")}
    assert defined["val/refined_mIoU"].summary.max
