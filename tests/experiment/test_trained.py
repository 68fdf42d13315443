"""What is read of a run's folder."""

import pytest
from omegaconf import OmegaConf

from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.run_folder import RunFolder
from spatialprop.experiment.trained import read_config
from tests.experiment.tiny import composed, evaluation


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
