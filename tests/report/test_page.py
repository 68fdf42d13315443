import json
import re
import shutil

import numpy as np
import pytest

from spatialprop.report import write_report
from tests.report.folders import arrays, scores, write_run
from tests.report.reader import Reader, read


def test_a_complete_run_has_every_figure(tmp_path):
    folder = write_run(tmp_path / "outputs" / "name" / "time", examples=5)
    page = write_report(folder)
    assert page == folder / "report.html"
    figures = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert set(figures) == {
        "affinity.png", "examples.png", "examples_2.png", "object_probability.png", "object_probability_2.png",
        "per_class.png", "training.png", "training_coarse.png", "trimap.png",
    }  # fmt: skip
    shown = read(page)
    assert sorted(shown.pictures) == sorted(figures.values())
    assert all(picture.startswith(b"\x89PNG") for picture in shown.pictures)
    assert "81.0% 11.0 above coarse" in shown.text
    assert "70.0% of them rightly" in shown.text
    assert "7 images" in shown.text


def test_the_best_the_median_and_the_worst_images_are_shown(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "ranked").mkdir()
    for kind, gain in (("best", 0.12), ("median", 0.01), ("worst", -0.2)):
        np.savez_compressed(folder / "ranked" / f"{kind}_00_image.npz", gain=gain, **arrays())
    shown = read(write_report(folder))
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert {"best.png", "median.png", "worst.png"} <= figures
    assert len(shown.pictures) == len(figures)
    assert shown.text.index("Best: ") < shown.text.index("Median: ") < shown.text.index("Worst: ")


def test_the_page_says_how_to_run_it_again(tmp_path):
    shown = read(write_report(write_run(tmp_path / "outputs" / "name" / "time")))
    assert "python train.py propagation=one_way 'data.root=my data' seed=2\n" in shown.text
    assert "python evaluate.py run=outputs/name/time\nspatialprop report outputs/name/time" in shown.text


def test_nothing_from_the_folder_becomes_markup_or_a_request(tmp_path):
    folder = write_run(tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"<img src=x>": scores(0.5)}))
    page = write_report(folder).read_text(encoding="utf-8")
    shown = Reader(page)
    assert "<b>" in shown.text
    assert "<script>alert(1)</script>" in shown.text
    assert "<img src=x>" in shown.text
    assert not {"script", "b", "link", "iframe"} & set(shown.tags)
    assert not re.search(r"https?://|url\(", page)


@pytest.mark.parametrize(
    "part", ["metrics.json", "data.json", "config.yaml", ".hydra", "csv", "csv_segmenter", "examples"]
)
def test_a_page_is_written_without_any_one_part(tmp_path, part):
    folder = write_run(tmp_path / "run")
    path = folder / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shown = read(write_report(folder))
    assert ("There is no metrics.json yet" in shown.text) == (part == "metrics.json")


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"coarse": {}},
        {"coarse": {"mIoU": 0.5}},
        {"refined": scores(0.5)},
        {"coarse": scores(0.5), "refined": {"mIoU": None, "changes": {"changed": 0.0, "right": float("nan")}}},
    ],
)
def test_a_page_is_written_whatever_scores_there_are(tmp_path, metrics):
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    shown = read(write_report(tmp_path))
    assert "nan" not in shown.text
    assert "None" not in shown.text


def test_a_run_of_the_coarse_model_alone(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"coarse": scores(0.7)}))
    shown = read(write_report(tmp_path))
    assert "70.0% coarse" in shown.text
    assert "refined" not in shown.text


def test_a_page_is_written_over_an_older_one(tmp_path):
    folder = write_run(tmp_path / "run")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert not [path for path in folder.rglob(".*") if path.is_file()]
