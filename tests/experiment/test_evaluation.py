"""Trained runs are scored from their folders alone: one on its data or other, several on several coarse maps."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from spatialprop.cli import main as spatialprop
from spatialprop.data import ImageFolder
from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.training import train
from spatialprop.metrics.helen import CLASSES
from tests.data.tiny_folder import write_tiny_folder
from tests.experiment.tiny import QUIET, composed, evaluation, run, scores, tiny_here
from tests.report.reader import read

pytestmark = QUIET


def options(*arguments):
    return composed("evaluate", *evaluation(*arguments))


@pytest.fixture
def moved(finished, tmp_path) -> Path:
    """A run's folder, alone on another machine."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_the_same_scores_again(finished, moved, tmp_path):
    shutil.rmtree(moved / "coarse")
    found = scores(evaluate(options(f"run={moved}"), tmp_path / "again"))
    assert found == scores(json.loads((finished / "metrics.json").read_text()))


def test_baselines_and_predictions(moved, tmp_path):
    folder = tmp_path / "again"
    found = evaluate(options(f"run={moved}", "baselines=[densecrf,guided_filter]", "predictions=true"), folder)
    assert {"densecrf", "guided_filter"} <= set(found)
    pictures = sorted((folder / "predictions" / "refined").glob("*.png"))
    assert len(pictures) == 2
    with Image.open(pictures[0]) as picture:
        assert picture.mode == "P"
        assert np.asarray(picture).max() < len(json.loads((folder / "data.json").read_text())["classes"])


def test_other_data_with_coarse_maps_of_its_own(moved, tmp_path):
    """Without hidden maps nothing depends on the classes."""
    root = tmp_path / "pets"
    write_tiny_folder(root, classes=3)
    evaluate(options(f"run={moved}", "data=folder", f"data.root={root}", "segmenter=files"), tmp_path / "pets_scored")
    assert json.loads((tmp_path / "pets_scored" / "data.json").read_text())["images"] == 4


def test_weights_that_do_not_fit(moved, tmp_path):
    config = OmegaConf.load(moved / "config.yaml")
    config.guidance.network.width = 16
    OmegaConf.save(config, moved / "config.yaml")
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(options(f"run={moved}"), tmp_path / "refused")


@pytest.mark.slow
def test_the_command_line_of_one_run(moved, tmp_path):
    done = run("evaluate.py", f"run={moved}", "baselines=[guided_filter]", folder=tmp_path)
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    assert folder.parent == moved / "evaluations"
    assert set(scores(json.loads((folder / "metrics.json").read_text()))) >= {"guided_filter"}
    report = (folder / "report.html").read_text()
    assert f"python evaluate.py run={moved} " in report  # how to do it again
    assert "python train.py" not in report


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A data set of faces, two runs trained on it, and the coarse maps of two segmenters: `good` and `poor`."""
    folder = tmp_path_factory.mktemp("universal")
    root = write_tiny_folder(folder / "faces", classes=len(CLASSES), images=4)
    described = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(described | {"classes": CLASSES}))
    for connection in ("one_way", "three_way"):
        options = (
            "data=folder",
            f"data.root={root}",
            "segmenter=files",
            f"propagation={connection}",
            "loader.per_image=2",
        )
        train(composed("train", *tiny_here(*options)), folder / connection)
    for name, noise in (("good", 0.0), ("poor", 0.6)):
        (folder / name / "val").mkdir(parents=True)
        for index, example in enumerate(ImageFolder(root, ["val"])):
            rng = np.random.default_rng(index)
            wrong = rng.dirichlet(np.ones(11), example.coarse.shape[1:]).transpose(2, 0, 1)
            mixed = example.coarse / 255 * (1 - noise) + noise * wrong
            np.savez_compressed(folder / name / "val" / f"{example.name}.npz", probs=mixed.astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def scored(there):
    folder = there / "scored"
    given = options(
        f"run=[{there / 'one_way'},{there / 'three_way'}]",
        f"coarse={{good:{there / 'good'},poor:{there / 'poor'}}}",
        "baselines=[guided_filter]",
        "predictions=true",
    )
    evaluate(given, folder)
    return folder


def test_every_run_is_scored_on_every_source(scored):
    results = json.loads((scored / "universal.json").read_text())
    assert list(results) == ["good", "poor"]
    for source, metrics in results.items():
        assert list(metrics) == ["coarse", "one_way", "three_way", "guided_filter", "oracle_8px"]
        written = json.loads((scored / source / "metrics.json").read_text())
        assert {method: written[method] for method in metrics} == metrics
        assert written.keys() - metrics.keys() == {"run"}
        assert len(list((scored / source / "predictions" / "three_way").glob("*.png"))) == 4
        assert (scored / source / "report.html").is_file()
    assert results["good"]["coarse"]["mIoU"] > results["poor"]["coarse"]["mIoU"]


@pytest.mark.parametrize("connection", ["one_way", "three_way"])
def test_the_scores_are_those_of_evaluating_one_run_on_one_source(there, scored, connection, tmp_path):
    root = there / "faces"
    given = options(f"run={there / connection}", "data=folder", f"data.root={root}", f"data.coarse={there / 'poor'}")
    alone = scores(evaluate(given, tmp_path))
    together = scores(json.loads((scored / "universal.json").read_text())["poor"])
    assert together["coarse"] == alone["coarse"]
    assert together[connection] == alone["refined"]


def test_the_tables_are_the_papers(scored, capsys):
    text = (scored / "universal.md").read_text()
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith(("| good", "| poor"))]
    models = [
        f"{source}{method}" for source in ("good", "poor") for method in ("", " + one_way", " + three_way",
                                                                          " + guided_filter")
    ]  # fmt: skip
    assert rows == models * 3  # scores, F-measures, IoU
    assert "overall accuracy | mean accuracy | mean IoU" in text
    assert "U-lip | L-lip | in-mouth | overall" in text
    page = read(scored / "report.html")
    assert page.links == ["./good/report.html", "./poor/report.html"]
    before = (scored / "report.html").read_bytes()
    assert spatialprop(["report", str(scored)]) == 0
    assert "poor + three_way" in capsys.readouterr().out
    assert (scored / "report.html").read_bytes() == before


def test_without_sources_the_first_runs_own_coarse_maps_are_refined(there, tmp_path):
    results = evaluate(options(f"run={{a:{there / 'three_way'},b:{there / 'three_way'}}}"), tmp_path / "two")
    assert list(results) == ["coarse"]
    trained = scores(json.loads((there / "three_way" / "metrics.json").read_text()))
    found = scores(results["coarse"])
    assert found["a"] == found["b"] == trained["refined"]
    assert found["coarse"] == trained["coarse"]


def test_restriction_and_windows_reach_every_run(there, tmp_path):
    given = [f"run={there / 'three_way'}", f"coarse={{poor:{there / 'poor'}}}", "restrict=true"]
    results = evaluate(options(*given, "window=32", "overlap=0", "predictions=true"), tmp_path)
    assert list(results["poor"]) == ["coarse", "three_way", "oracle_8px"]
    for path in (tmp_path / "poor" / "predictions" / "three_way").glob("*.png"):
        coarse = np.asarray(Image.open(tmp_path / "poor" / "predictions" / "coarse" / path.name))
        assert set(np.unique(np.asarray(Image.open(path)))) <= set(np.unique(coarse))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run=[RUN,RUN]"], "twice"),
        (["run={coarse:RUN}", "coarse={a:MAPS}"], "the name 'coarse' is taken"),
        (["run={..:RUN}"], "becomes the name of a folder"),
        (["run=[]"], "names no folder"),
        (["run=RUN", "coarse=a:MAPS"], "in quotes that keep the shell from splitting it"),
        (["run=RUN", "coarse={a:MISSING}"], "is no folder; give what `spatialprop data predict"),
        (["run=RUN", "coarse={a:MAPS}", "data=synthetic"], "takes no coarse maps from a folder"),
        (["run=RUN", "coarse={a:EMPTY}"], "has no coarse map"),
    ],
    ids=lambda value: "" if isinstance(value, list) else value,
)
def test_what_is_wrong_is_said(there, tmp_path, arguments, told):
    (tmp_path / "empty").mkdir()
    places = {
        "RUN": there / "three_way",
        "MAPS": there / "good",
        "MISSING": tmp_path / "no",
        "EMPTY": tmp_path / "empty",
    }
    for name, place in places.items():
        arguments = [argument.replace(name, str(place)) for argument in arguments]
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        evaluate(options(*arguments), tmp_path / "out")


def test_runs_that_restrict_are_not_mixed_with_runs_that_do_not(there, tmp_path):
    other = tmp_path / "restricted"
    shutil.copytree(there / "three_way", other)
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("restrict: false", "restrict: true"))
    runs = f"run={{a:{there / 'three_way'},b:{other}}}"
    with pytest.raises(ValueError, match="no fair comparison; say restrict=true"):
        evaluate(options(runs), tmp_path / "out")
    assert evaluate(options(runs, "restrict=false"), tmp_path / "again")


@pytest.mark.slow
def test_the_command_line(there, tmp_path):
    done = run(
        "evaluate.py", f"run=[{there / 'one_way'},{there / 'three_way'}]", f"coarse={{good:{there / 'good'}}}",
        "callbacks.progress_bar=false", folder=tmp_path,
    )  # fmt: skip
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    assert folder.parent == tmp_path / "outputs" / "universal"
    assert "good + three_way" in done.stdout
    assert (folder / "universal.md").is_file()
