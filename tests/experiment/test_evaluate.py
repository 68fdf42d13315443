"""evaluate.py: a run's folder is all it needs, and nothing in it chooses code."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from tests.data.tiny_folder import write_tiny_folder
from tests.experiment.tiny import run, trained


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def moved(finished, tmp_path) -> Path:
    """A run's folder, alone on another machine."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def evaluated(folder: Path, *arguments: str) -> Path:
    return folder / run("evaluate.py", *arguments, folder=folder).stdout.strip().splitlines()[-1]


def scores(folder: Path) -> dict:
    metrics = json.loads((folder / "metrics.json").read_text())
    for method in metrics.values():
        method.pop("milliseconds", None)
    return metrics


def test_the_same_scores_again(finished, moved, tmp_path):
    shutil.rmtree(moved / "coarse")
    assert scores(evaluated(tmp_path, f"run={moved}")) == scores(finished)


def test_baselines_and_predictions(moved, tmp_path):
    folder = evaluated(tmp_path, f"run={moved}", "baselines=[densecrf,guided_filter]", "predictions=true")
    assert {"densecrf", "guided_filter"} <= set(scores(folder))
    report = (folder / "report.html").read_text()
    assert f"python evaluate.py run={moved} " in report  # how to do it again
    assert "python train.py" not in report
    pictures = sorted((folder / "predictions" / "refined").glob("*.png"))
    assert len(pictures) == 2
    with Image.open(pictures[0]) as picture:
        assert picture.mode == "P"
        assert np.asarray(picture).max() < len(json.loads((folder / "data.json").read_text())["classes"])


def test_other_data_with_coarse_maps_of_its_own(moved, tmp_path):
    """Without hidden maps nothing depends on the classes."""
    root = tmp_path / "pets"
    write_tiny_folder(root, classes=3)
    folder = evaluated(tmp_path, f"run={moved}", "data=folder", f"data.root={root}", "segmenter=files")
    assert json.loads((folder / "data.json").read_text())["images"] == 4


@pytest.mark.parametrize("target", ["os.system", "spatialprop.nn.published.weights.os.unlink", "spatialprop.cli.main"])
def test_a_config_from_elsewhere_chooses_no_code(moved, tmp_path, target):
    config = OmegaConf.load(moved / "config.yaml")
    config.guidance.network._target_ = target
    OmegaConf.save(config, moved / "config.yaml")
    failed = run("evaluate.py", f"run={moved}", folder=tmp_path, expect=1)
    assert "trust=true" in failed.stdout + failed.stderr


def test_a_folder_that_is_no_run(tmp_path):
    failed = run("evaluate.py", f"run={tmp_path}", folder=tmp_path, expect=1)
    assert "holds no config.yaml" in failed.stdout + failed.stderr


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ([], "which run? Give its folder"),
        (["run=outputs/latset"], "outputs/latset is not a folder"),
        (["run=.", "data=foldr"], "cityscapes"),
        (["run=.", "segmenter=file"], "files"),
        (["run=.", "segmentr=files"], "Did you mean 'segmenter'?"),
        (["run=.", "baseline=[densecrf]"], "Did you mean 'baselines'?"),
        (["run=.", "+baseline=[densecrf]"], "Did you mean 'baselines'?"),
        (["run=.", "trainer.device=2"], "Did you mean 'devices'?"),
    ],
    ids=str,
)
def test_a_wrong_override_says_what_is_right(overrides, told, tmp_path):
    failed = run("evaluate.py", *overrides, folder=tmp_path, expect=1)
    assert told in failed.stdout + failed.stderr
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_fit(moved, tmp_path):
    config = OmegaConf.load(moved / "config.yaml")
    config.guidance.network.width = 16
    OmegaConf.save(config, moved / "config.yaml")
    failed = run("evaluate.py", f"run={moved}", folder=tmp_path, expect=1)
    assert "do not fit" in failed.stdout + failed.stderr
