"""What is read of a run's folder."""

import resource

import numpy as np
import pytest
from omegaconf import OmegaConf

from spatialprop.cli import main as spatialprop
from spatialprop.data import LabelSet, write_label_set
from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.parts import make_task
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import load_run, read_config
from spatialprop.experiment.weights import keep_weights
from tests.experiment.tiny import composed, evaluation, tiny_here


def kept(folder, *overrides):
    config = composed("train", *overrides)
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    return RunFolder(folder)


def test_the_files_that_training_began_with_are_not_needed_again(tmp_path):
    """They may lie on another machine; what became of them lies in the run."""
    run = kept(tmp_path, "guidance=vgg16", "guidance.network.weights=/no/vgg16.pth", "segmenter=fcn8s",
               "segmenter.network.weights=/no/fcn8s.pth")  # fmt: skip
    config = read_config(run, trust=False)
    assert config.guidance.network.weights is None
    assert config.segmenter.network.weights == "/no/fcn8s.pth"  # nothing of it lies in the run yet
    run.checkpoints.mkdir()
    run.segmenter.touch()
    assert read_config(run, trust=False).segmenter.network.weights is None


def test_a_trained_segmenter_needs_no_first_weights(tmp_path):
    run = kept(tmp_path, "task=segment", "segmenter=fcn8s", "segmenter.network.weights=/no/vgg16.pth")
    assert read_config(run, trust=False).segmenter.network.weights is None


@pytest.mark.parametrize(("task", "option"), [("segment", "restrict=true"), ("dilated_affinity", "window=64")])
def test_options_that_a_task_has_not(tmp_path, task, option):
    kept(tmp_path, f"task={task}")
    told = f"this run was trained with task={task}, which has no setting {option.split('=')[0]}"
    with pytest.raises(ValueError, match=told):
        evaluate(composed("evaluate", *evaluation(f"run={tmp_path}", option)), tmp_path / "refused")


@pytest.mark.parametrize("task", ["segment", "joint", "dilated_affinity"])
def test_another_segmenter_is_no_part_of_evaluating_a_run_that_trained_its_own(tmp_path, task):
    kept(tmp_path, f"task={task}")
    with pytest.raises(ValueError, match=f"trained with task={task}, whose own segmenter"):
        evaluate(composed("evaluate", *evaluation(f"run={tmp_path}", "segmenter=unet")), tmp_path / "refused")


@pytest.fixture
def whole(tmp_path):
    """A run that loads, without any training."""
    run, labels = kept(tmp_path, *tiny_here()), LabelSet("x", tuple("abc"))
    write_label_set(labels, run.data)
    task = make_task(OmegaConf.load(run.config), labels)
    keep_weights(task.network, run.network)
    keep_weights(task.segmenter, run.segmenter)
    assert load_run(run.path).network is not None
    return run


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("guidance", None),
        ("guidance", "gone"),
        ("segmenter", [1, 2]),
        ("task", "refine"),
        ("propagation", "three_way"),
        ("propagation.units", {"a": 1}),
        ("guidance.network.width", "wide"),
        ("guidance.network.width", -3),
        ("guidance.network.width", 10**30),
        ("guidance.network._partial_", False),
    ],
)
def test_a_config_that_describes_nothing_is_named_and_no_traceback(whole, key, value, tmp_path, capsys):
    config = OmegaConf.load(whole.config)
    if value == "gone":
        del config[key]
    else:
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    OmegaConf.save(config, whole.config)
    with pytest.raises(ValueError):  # noqa: PT011 - whatever is wrong with it
        load_run(whole.path)
    assert spatialprop(["export", str(whole.path), "--to", str(tmp_path / "x.safetensors")]) == 2
    assert "weights" not in capsys.readouterr().err or key.endswith("width")


@pytest.mark.parametrize("network", ["guidance", "segmenter"])
def test_a_config_that_asks_for_more_memory_than_its_weights_take_is_refused_before(whole, network, monkeypatch):
    config = OmegaConf.load(whole.config)
    config[network].network.width = 8000  # gigabytes
    OmegaConf.save(config, whole.config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="weights do not fit"):
        load_run(whole.path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300 << 10


@pytest.mark.parametrize("content", [b"", b"PK", "empty"])
def test_a_damaged_example_is_named_by_the_export(whole, content, capsys):
    whole.examples.mkdir()
    path = whole.examples / "00_x.npz"
    np.savez(path) if content == "empty" else path.write_bytes(content)
    assert spatialprop(["export", str(whole.path)]) == 2
    assert "00_x.npz is no test image" in capsys.readouterr().err
