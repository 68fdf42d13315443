"""Several runs by one command, and several processes by one run."""

import json
import os
import subprocess
import sys

import pytest

from spatialprop.cli import main as spatialprop
from tests.experiment.tiny import TINY, command, environment, run, run_anew, trained

pytestmark = pytest.mark.slow


def test_one_failing_job_does_not_lose_the_others(tmp_path, capsys):
    failed = run(
        "train.py",
        "--multirun",
        *TINY,
        "propagation=one_way,three_way",
        "propagation.units=1,0",
        folder=tmp_path,
        expect=1,
    )
    assert "units must be at least 1" in failed.stdout + failed.stderr
    (folder,) = (tmp_path / "multirun").iterdir()
    assert len(list(folder.rglob("metrics.json"))) == 2
    segmenters = [path.read_bytes() for path in folder.rglob("segmenter.safetensors")]
    assert segmenters == segmenters[:1] * 2  # both connections refine the same coarse maps
    assert len(list(folder.rglob("csv_segmenter"))) == 1, "it was fitted twice"
    assert spatialprop(["report", str(folder)]) == 0
    table = capsys.readouterr().out
    assert "one_way" in table
    assert "three_way" in table
    assert table.count("units must be at least 1; got 0") == 2  # what each job that failed said last
    assert (folder / "report.md").is_file()


def test_a_multirun_that_is_to_go_on_must_be_named(tmp_path):
    failed = run("train.py", "--multirun", *TINY, "seed=1,2", "ckpt_path=last", folder=tmp_path, expect=1)
    assert "Name it: hydra.sweep.dir=multirun/" in failed.stdout + failed.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm"])
def test_launchers_compose(launcher, tmp_path):
    shown = run("train.py", f"hydra/launcher={launcher}", "--cfg", "hydra", folder=tmp_path).stdout
    assert f"hydra/launcher: {launcher}" in shown


@pytest.mark.parametrize("sweep", ["optuna", "connections", "real"])
def test_sweeps_compose(sweep, tmp_path):
    shown = run("train.py", f"sweep={sweep}", "--cfg", "hydra", folder=tmp_path).stdout
    assert "propagation" in shown


def test_multirun_with_several_devices_is_refused(tmp_path):
    failed = run(
        "train.py", "--multirun", *TINY, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "seed=1,2",
        folder=tmp_path, expect=1,
    )  # fmt: skip
    assert "set trainer.devices=1" in (failed.stdout + failed.stderr).lower().replace("set t", "set t")


def test_two_processes_score_every_image_once(tmp_path):
    """Three test images over two processes: none is counted twice to make it even."""
    one = trained(tmp_path, "data.test=3", "trainer.max_epochs=1")
    options = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    scores = []
    for start, extra in ((run, []), (run_anew, options)):
        done = start("evaluate.py", f"run={one}", *extra, folder=tmp_path)
        folder = tmp_path / [line for line in done.stdout.strip().splitlines() if "evaluations" in line][-1]
        metrics = json.loads((folder / "metrics.json").read_text())
        del metrics["run"]
        for method in metrics.values():
            method.pop("milliseconds", None)
        scores.append(metrics)
    assert scores[0] == scores[1]


def test_training_on_two_processes(tmp_path):
    options = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    run_anew("train.py", *TINY, "loader.batch_size=2", *options, folder=tmp_path)
    (metrics,) = tmp_path.rglob("metrics.json")
    assert json.loads(metrics.read_text())["refined"]["mIoU"] >= 0
    assert os.environ.keys() <= environment().keys()


OUTSIDE = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true")


def test_torchrun(tmp_path):
    """Two processes that were started from outside leave one folder."""
    started = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone",
        *command("train.py", *TINY, "loader.batch_size=2", *OUTSIDE)[1:], "hydra.run.dir=outputs/refine/one",
    ]  # fmt: skip
    done = subprocess.run(started, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    assert [path.parent for path in tmp_path.rglob("metrics.json")] == [tmp_path / "outputs" / "refine" / "one"]


def test_processes_from_outside_need_one_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    failed = run("train.py", *TINY, *OUTSIDE, folder=tmp_path, expect=1)
    assert "name one for all: hydra.run.dir=outputs/refine/NAME" in failed.stdout + failed.stderr
