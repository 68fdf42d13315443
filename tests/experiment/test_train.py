"""The command line of train.py, and what a run leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.training import train
from tests.experiment.tiny import REPOSITORY, TINY, composed, run, tiny_but, trained


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("finished"))


def test_a_run_leaves_what_the_readme_promises(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert list(metrics) == ["coarse", "refined", "oracle_8px"]
    for scores in metrics.values():
        for name in ("mIoU", "pixel_accuracy", "mean_accuracy", "boundary_IoU"):
            assert 0 <= scores[name] <= 1
        assert len(scores["per_class_IoU"]) == len(json.loads((finished / "data.json").read_text())["classes"])
    assert yaml.safe_load((finished / "config.yaml").read_text())["trainer"]["max_epochs"] == 2
    assert (finished / "checkpoints" / "last.ckpt").is_file()
    assert load_file(finished / "checkpoints" / "network.safetensors")
    assert load_file(finished / "checkpoints" / "segmenter.safetensors")
    assert list((finished / "figures").glob("*.png"))
    assert "<html" in (finished / "report.html").read_text()
    assert (finished.parents[1] / "latest").resolve() == finished.resolve()


def test_nothing_is_left_half_written(finished):
    assert not list(finished.rglob("*.part"))


def test_checkpoints_load_safely(finished):
    """No partial function, config object or path may be in them: safe loading would refuse to resume."""
    for path in finished.rglob("*.ckpt"):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    "task", [["task=segment", "patches=full"], ["task=joint"], ["task=joint", "task.share_trunk=true"]], ids=str
)
def test_every_task_runs(task, tmp_path):
    folder = trained(tmp_path, *task)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert ("refined" in metrics) == ("task=joint" in task)


def test_a_segmenter_that_was_trained_before_is_taken_over(tmp_path):
    segmenter = trained(tmp_path, "task=segment", "patches=full")
    refined = trained(tmp_path, "segmenter.checkpoint=outputs/latest")
    before, after = (
        load_file(segmenter / "checkpoints/network.safetensors"),
        load_file(refined / "checkpoints/segmenter.safetensors"),
    )
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not (refined / "checkpoints" / "segmenter").exists()


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("segmenter"), "task=segment", "patches=full")


@pytest.mark.parametrize("task", ["segment", "joint", "dilated_affinity"])
def test_training_goes_on_from_a_segmenter_that_was_trained_before(segmenter, task, tmp_path):
    still = ["optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1"]
    run = trained(tmp_path, f"task={task}", f"segmenter.checkpoint={segmenter}", *still)
    before, after = (load_file(folder / "checkpoints" / "network.safetensors") for folder in (segmenter, run))
    inside = "" if task == "segment" else "segmenter."
    assert all(torch.equal(value, after[inside + name]) for name, value in before.items())


@pytest.mark.parametrize("task", ["segment", "joint", "dilated_affinity"])
def test_weights_of_another_segmenter_are_refused(segmenter, task, tmp_path):
    options = tiny_but(f"task={task}", f"segmenter.checkpoint={segmenter}", "segmenter.network.depth=2")
    with pytest.raises(ValueError, match="the weights do not fit the network"):
        train(composed("train", *options), tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="checkpoint = nowhere does not exist"):
        train(composed("train", *options, "segmenter.checkpoint=nowhere"), tmp_path / "run")


def test_another_segmenter_is_no_part_of_evaluating_a_run_that_trained_its_own(segmenter):
    options = [f"run={segmenter}", "segmenter=unet"]
    with pytest.raises(ValueError, match="trained with task=segment, whose own segmenter"):
        evaluate(composed("evaluate", *options), segmenter / "evaluations" / "refused")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optimizer.lrr=1", "Did you mean 'lr'?"),
        ("sead=1", "Did you mean 'seed'?"),
        ("+sead=1", "Did you mean 'seed'?"),
        ("experimen=synthetic_unet", "Did you mean 'experiment'?"),
        ("guidance.network.widht=8", "Did you mean 'width'?"),
        ("guidance=lite", "light"),
        ("debug=quick", "fast"),
        ("propagation.connection=four_way", "three_way"),
        ("propagation.normalization=softmax", "clamp"),
        ("task.kind=refinement", "refine"),
        ("baselines=[crf]", "densecrf"),
        ("loader.batch_size=1000", "lower loader.batch_size"),
        ("patches.size=0", "patches.size must be at least 1"),
        ("optimizer.lr=-1", "Invalid learning rate"),
        ("+scheduler.warm=0.1", "warm"),
        ("logger.kind=tensorboard", "wandb"),
        ("ckpt_path=last", "there is no run in outputs/refine"),
        ("trainer.max_epochs=two", "trainer.max_epochs must be a whole number, -1 or more; got 'two'"),
        ("segmenter.fit.validate_every=0", "segmenter.fit.validate_every must be a whole number, 1 or more; got 0"),
        ("loader.memory=-1", "memory must be a whole number of megabytes"),
        ("ckpt_path=missing.ckpt", "does not exist"),
        ("segmenter.checkpoint=missing.ckpt", "does not exist"),
        ("segmenter=files", "has no coarse map"),
        ("data=folder", "data.root"),
    ],
)
def test_a_wrong_override_says_what_is_right(override, told, tmp_path):
    failed = run("train.py", *tiny_but(override), folder=tmp_path, expect=1)
    assert told in failed.stdout + failed.stderr
    assert not list(tmp_path.rglob("metrics.json"))
    assert not list(tmp_path.rglob("*.ckpt")), "it was not said before a segmenter was fitted"


@pytest.mark.parametrize("impossible", ["patches.size=0", "segmenter.checkpoint=missing.ckpt"])
def test_what_is_refused_is_not_the_latest_run(impossible, tmp_path):
    run("train.py", *tiny_but(impossible), folder=tmp_path, expect=1)
    assert not (tmp_path / "outputs" / "latest").is_symlink()


def test_a_wrong_setting_of_a_multirun_stops_it_before_the_first_job(tmp_path):
    failed = run("train.py", "--multirun", *TINY, "propagation=one_way,thre_way", folder=tmp_path, expect=1)
    assert "three_way" in failed.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


HEAVY = {"torch", "pytorch_lightning", "numba", "albumentations", "cv2", "matplotlib"}


def shown(script: str, *arguments: str, typed: str = "") -> str:
    """What a script prints that only looks at its configs: it must do so without what takes seconds to import."""
    code = (
        f"import sys, runpy; sys.argv = {[script, *arguments]!r}\n"
        f"runpy.run_path({str(REPOSITORY / script)!r}, run_name='__main__')\n"
        f"assert not {HEAVY} & set(sys.modules), 'imported too early'"
    )
    surroundings = {**os.environ, "COMP_LINE": typed}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, env=surroundings
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # where Hydra would warn of an unknown version_base
    return done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("train.py propagation=", "propagation=three_way"),
        ("train.py experiment=syn", "experiment=synthetic_unet"),
        ("train.py trainer.max_e", "trainer.max_epochs="),
        ("evaluate.py data=", "data=folder"),
    ],
)
def test_tab_completion_does_not_wait_for_torch(typed, offered):
    """Tab completion runs the script."""
    assert offered in shown(typed.split()[0], "-sc", "query=bash", typed=typed).split()


def test_the_config_is_shown_without_torch():
    assert "connection: three_way" in shown("train.py", "--cfg", "job")
