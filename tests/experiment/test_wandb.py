"""Runs on wandb, offline."""

import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from hydra.types import RunMode
from wandb.proto.wandb_internal_pb2 import Record

from spatialprop.experiment import training
from spatialprop.experiment.wandb_logging import LoginError, make_wandb_logger
from tests.experiment.test_values import SMALL as VALUES
from tests.experiment.tiny import TINY, composed, run

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_best_score_is_the_summary(tmp_path):
    run("train.py", *TINY, "logger=wandb", folder=tmp_path)
    (path,) = tmp_path.glob("outputs/*/*/wandb/offline-run-*/*.wandb")
    defined = {record.metric.name: record.metric for record in records(path) if record.HasField("metric")}
    assert defined["val/refined_mIoU"].summary.max


@pytest.mark.slow
def test_the_runs_of_a_study_are_told_apart(tmp_path):
    """By their overrides, in the group of their multirun; with all scores, and the weights under their aliases."""
    options = [
        "logger=wandb",
        "baselines=[guided_filter]",
        "hydra.sweep.dir=multirun/study",
        "trainer.log_every_n_steps=1",
    ]
    run("train.py", "--multirun", *TINY[:-1], *options, "propagation=one_way,three_way", folder=tmp_path)
    sent = [list(records(path)) for path in tmp_path.glob("multirun/study/*/wandb/offline-run-*/*.wandb")]
    told = [record.run for of_one in sent for record in of_one if record.HasField("run")]
    assert {one.run_group for one in told} == {"study"}
    assert {one.job_type for one in told} == {"refine"}
    assert {"one_way", "three_way"} == {
        word for one in told for word in one.display_name.split() if word.endswith("way")
    }
    assert all({"refine", "synthetic", "unet", "light"} <= set(one.tags) for one in told)
    history = [record.history for of_one in sent for record in of_one if record.HasField("history")]
    names = [item.key or "/".join(item.nested_key) for one in history for item in one.item]
    for wanted in ("segmenter/train/loss", "lr-AdamW/pg1", "val/images", "test/trimap_IoU"):
        assert any(name.startswith(wanted) for name in names), wanted
    for of_one in sent:
        summary = {item.key or "/".join(item.nested_key) for record in of_one for item in record.summary.update}
        assert {"test/refined/IoU/background", "test/refined/changes/right", "test/refined/milliseconds"} <= summary
        artifacts = [record.request.log_artifact.artifact for record in of_one if record.HasField("request")]
        artifacts += [record.artifact for record in of_one if record.HasField("artifact")]
        (weights,) = [one for one in artifacts if one.type == "model"]
        assert {"best", "seed-1"} <= set(weights.aliases)
        assert {"checkpoints/network.safetensors", "checkpoints/segmenter.safetensors", "config.yaml"} <= {
            entry.path for entry in weights.manifest.contents
        }


def test_who_is_not_logged_in_is_told_so_in_one_line(tmp_path, monkeypatch):
    def refuse(**_: Any) -> None:
        raise wandb.errors.UsageError("api_key not configured (no-tty).\n  call wandb login [your_api_key]")

    monkeypatch.setattr(wandb, "init", refuse)
    config = composed("train", "logger=wandb", "logger.offline=false")
    with pytest.raises(
        LoginError, match=r"api_key not configured \(no-tty\)\. call wandb login .*offline=true"
    ) as told:
        make_wandb_logger(config, tmp_path)
    assert "\n" not in str(told.value)


def test_a_missing_login_ends_the_command_without_a_traceback(monkeypatch, tmp_path):
    def refuse(*_: Any) -> None:
        raise LoginError("log in first")

    hydra = SimpleNamespace(mode=RunMode.RUN, runtime=SimpleNamespace(output_dir=str(tmp_path)))
    monkeypatch.setattr(training.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(training, "refuse_folders_apart", lambda _: None)
    monkeypatch.setattr(training, "train", refuse)
    with pytest.raises(SystemExit, match=r"^log in first$"):
        training.run_job(composed("train"))


@pytest.mark.slow
def test_values_are_logged_as_pictures_and_with_scores_of_their_own(tmp_path):
    run("train.py", "task=matte", *VALUES, "baselines=[]", "logger=wandb", folder=tmp_path)
    (path,) = tmp_path.glob("outputs/*/*/wandb/offline-run-*/*.wandb")
    sent = list(records(path))
    defined = {record.metric.name: record.metric for record in sent if record.HasField("metric")}
    assert defined["val/refined_SAD"].summary.min
    history = [record.history for record in sent if record.HasField("history")]
    names = {item.key or "/".join(item.nested_key) for one in history for item in one.item}
    for wanted in ("val/images", "test/examples", "test/comparison"):
        assert any(name.startswith(wanted) for name in names), wanted
    assert not any(name.startswith("test/per_class_IoU") for name in names)
    summary = {item.key or "/".join(item.nested_key) for record in sent for item in record.summary.update}
    assert {"test/refined/SAD", "test/refined/milliseconds"} <= summary
