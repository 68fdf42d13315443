"""A run that was killed ends like one that was not."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.experiment.tiny import TINY, command, environment, run, trained

pytestmark = pytest.mark.slow

# Long enough to be killed in the middle, of an epoch too: 12 batches an epoch, a checkpoint every 3.
LONGER = (*TINY, "loader.per_image=6", "trainer.max_epochs=3")


def kill_when(folder: Path, pattern: str, *arguments: str) -> None:
    """Start a run and kill it, without a chance to clean up, once a file matches."""
    process = subprocess.Popen(
        command("train.py", *LONGER, *arguments), cwd=folder, env=environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(6000):
            if any(folder.glob(pattern)):
                break
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def results(folder: Path) -> tuple[dict[str, torch.Tensor], dict]:
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["run"]  # when, how long, by which commit
    for scores in metrics.values():
        scores.pop("milliseconds", None)
    return load_file(folder / "checkpoints" / "network.safetensors"), metrics


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return results(trained(tmp_path_factory.mktemp("uninterrupted"), *LONGER))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("killed_in", ["segmenter", "epoch"])
def test_resume_is_exact(uninterrupted, tmp_path, workers, killed_in):
    loading = f"loader.workers={workers}"
    where = {
        "segmenter": "outputs/refine/*/checkpoints/segmenter/last.ckpt",
        "epoch": "outputs/refine/*/checkpoints/last.ckpt",
    }[killed_in]
    kill_when(tmp_path, where, loading)
    assert not list(tmp_path.rglob("metrics.json"))
    (killed,) = (tmp_path / "outputs" / "refine").iterdir()

    done = run("train.py", *LONGER, loading, "ckpt_path=last", folder=tmp_path)
    assert "not resumable" not in done.stderr, "Lightning cannot know that it is"
    assert (tmp_path / done.stdout.strip().splitlines()[-1]).resolve() == killed.resolve()
    weights, metrics = results(killed)
    expected_weights, expected_metrics = uninterrupted
    assert weights.keys() == expected_weights.keys()
    for name, tensor in expected_weights.items():
        assert torch.equal(weights[name], tensor), name
    assert metrics == expected_metrics


def test_other_settings_are_pointed_out(tmp_path):
    finished = trained(tmp_path)
    described = (finished / "config.yaml").read_text()
    refused = run("train.py", *TINY, "ckpt_path=last", "propagation=one_way", folder=tmp_path, expect=1)
    assert "holds another network than these settings make" in refused.stdout + refused.stderr
    assert (finished / "config.yaml").read_text() == described

    done = run("train.py", *TINY, "ckpt_path=last", "trainer.max_epochs=3", folder=tmp_path)
    assert f"outputs/refine/{finished.name}, which had finished" in done.stdout + done.stderr
    assert "trainer" in done.stdout + done.stderr
    assert "goes on with other settings" in done.stdout + done.stderr


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(uninterrupted, tmp_path):
    older = trained(tmp_path, "seed=7", "hydra.run.dir=outputs/refine/1999-12-31_23-59-59")
    finished = (older / "metrics.json").read_bytes()
    kill_when(tmp_path, "outputs/refine/2*/csv_segmenter")
    newer = max((tmp_path / "outputs" / "refine").iterdir())
    assert newer != older

    run("train.py", *LONGER, "ckpt_path=last", folder=tmp_path)
    assert (older / "metrics.json").read_bytes() == finished
    weights, metrics = results(newer)
    assert metrics == uninterrupted[1]
    assert all(torch.equal(weights[name], tensor) for name, tensor in uninterrupted[0].items())
