"""Runs on the coarse maps of segmenters that they were not trained on."""

import json
import shutil

import numpy as np
import pytest

from spatialprop.cli import main as spatialprop
from spatialprop.data import ImageFolder
from spatialprop.experiment.evaluation import evaluate
from spatialprop.experiment.training import train
from spatialprop.experiment.universal import evaluate_universal
from spatialprop.metrics.helen import CLASSES
from tests.data.tiny_folder import write_tiny_folder
from tests.experiment.tiny import TINY, composed, run
from tests.report.reader import read

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training"),
]


def tiny(*arguments):
    # In this process: what the trainer sets for determinism would stay set for the tests that follow.
    trainer = ("trainer.max_epochs=1", "trainer.deterministic=false", "trainer.log_every_n_steps=1")
    kept = [option for option in TINY if option.split(".")[0] not in ("data", "segmenter")]
    return [*kept, *trainer, "segmenter=files", *arguments]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A data set of faces, two runs trained on it, and the coarse maps of two segmenters: `good` and `poor`."""
    folder = tmp_path_factory.mktemp("universal")
    root = write_tiny_folder(folder / "faces", classes=len(CLASSES), images=4)
    described = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(described | {"classes": CLASSES}))
    for connection in ("one_way", "three_way"):
        options = ("data=folder", f"data.root={root}", f"propagation={connection}", "loader.per_image=2")
        train(composed("train", *tiny(*options)), folder / connection)
    for name, noise in (("good", 0.0), ("poor", 0.6)):
        (folder / name / "val").mkdir(parents=True)
        for index, example in enumerate(ImageFolder(root, ["val"])):
            rng = np.random.default_rng(index)
            wrong = rng.dirichlet(np.ones(11), example.coarse.shape[1:]).transpose(2, 0, 1)
            mixed = example.coarse / 255 * (1 - noise) + noise * wrong
            np.savez_compressed(folder / name / "val" / f"{example.name}.npz", probs=mixed.astype(np.float32))
    return folder


def options(*arguments):
    quiet = ("callbacks.progress_bar=false", "callbacks.examples=1", "workers=0", "trainer.deterministic=false")
    return composed("evaluate", *quiet, *arguments)


@pytest.fixture(scope="module")
def scored(there):
    folder = there / "scored"
    given = options(
        f"run=[{there / 'one_way'},{there / 'three_way'}]",
        f"coarse={{good:{there / 'good'},poor:{there / 'poor'}}}",
        "baselines=[guided_filter]",
        "predictions=true",
    )
    evaluate_universal(given, folder)
    return folder


def scores(metrics):
    return {
        method: {key: value for key, value in of.items() if key != "milliseconds"} for method, of in metrics.items()
    }


def test_every_run_is_scored_on_every_source(scored):
    results = json.loads((scored / "universal.json").read_text())
    assert list(results) == ["good", "poor"]
    for source, metrics in results.items():
        assert list(metrics) == ["coarse", "one_way", "three_way", "guided_filter", "oracle_8px"]
        assert metrics == json.loads((scored / source / "metrics.json").read_text())
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
    assert page.links == ["good/report.html", "poor/report.html"]
    before = (scored / "report.html").read_bytes()
    assert spatialprop(["report", str(scored)]) == 0
    assert "poor + three_way" in capsys.readouterr().out
    assert (scored / "report.html").read_bytes() == before


def test_without_sources_the_first_runs_own_coarse_maps_are_refined(there, tmp_path):
    results = evaluate_universal(options(f"run={{a:{there / 'three_way'},b:{there / 'three_way'}}}"), tmp_path / "two")
    assert list(results) == ["coarse"]
    trained = scores(json.loads((there / "three_way" / "metrics.json").read_text()))
    found = scores(results["coarse"])
    assert found["a"] == found["b"] == trained["refined"]
    assert found["coarse"] == trained["coarse"]


def test_restriction_and_windows_reach_every_run(there, tmp_path):
    given = [f"run={there / 'three_way'}", f"coarse={{poor:{there / 'poor'}}}", "restrict=true"]
    results = evaluate_universal(options(*given, "window=32", "overlap=0", "predictions=true"), tmp_path)
    assert list(results["poor"]) == ["coarse", "three_way", "oracle_8px"]
    from PIL import Image

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
        evaluate_universal(options(*arguments), tmp_path / "out")


def test_runs_that_restrict_are_not_mixed_with_runs_that_do_not(there, tmp_path):
    other = tmp_path / "restricted"
    shutil.copytree(there / "three_way", other)
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("restrict: false", "restrict: true"))
    runs = f"run={{a:{there / 'three_way'},b:{other}}}"
    with pytest.raises(ValueError, match="no fair comparison; say restrict=true"):
        evaluate_universal(options(runs), tmp_path / "out")
    assert evaluate_universal(options(runs, "restrict=false"), tmp_path / "again")


def test_the_command_line(there, tmp_path):
    done = run(
        "evaluate.py", f"run=[{there / 'one_way'},{there / 'three_way'}]", f"coarse={{good:{there / 'good'}}}",
        "callbacks.progress_bar=false", folder=tmp_path,
    )  # fmt: skip
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    assert folder.parent == tmp_path / "outputs" / "universal"
    assert "good + three_way" in done.stdout
    assert (folder / "universal.md").is_file()
