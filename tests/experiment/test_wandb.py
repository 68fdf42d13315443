"""Runs on wandb, offline."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

from tests.experiment.tiny import TINY, run

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
    done = run("train.py", "--multirun", *TINY, "logger=wandb", "seed=1,2", folder=tmp_path)
    assert "Error" not in done.stderr
    kept = list(tmp_path.glob("multirun/*/*/wandb/offline-run-*/*.wandb"))
    assert len(kept) == 2, "each job of a multirun is a run of its own"
    for path in kept:
        stored = path.read_bytes()
        for name in (b"val/refined_mIoU", b"test/comparison", b"test/examples", b"report-"):
            assert name in stored


def test_the_best_score_is_the_summary(tmp_path):
    run("train.py", *TINY, "logger=wandb", folder=tmp_path)
    (path,) = tmp_path.glob("outputs/*/*/wandb/offline-run-*/*.wandb")
    defined = {record.metric.name: record.metric for record in records(path) if record.HasField("metric")}
    assert defined["val/refined_mIoU"].summary.max
