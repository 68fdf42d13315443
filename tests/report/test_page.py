import base64
import hashlib
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
    under_sliders = [picture for picture in shown.pictures if picture not in figures.values()]
    assert sorted(shown.pictures) == sorted([*figures.values(), *under_sliders])
    assert len(under_sliders) == 8  # before and after of four images
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
    assert len(shown.pictures) == len(figures) + 2 * len(list((folder / "examples").glob("*.npz")))
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
    assert shown.tags.count("script") == 1, "more than the page's own"
    assert not {"b", "link", "iframe"} & set(shown.tags)
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


def test_a_browser_runs_the_pages_own_script_alone(tmp_path):
    page = write_report(write_run(tmp_path / "run")).read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_the_best_of_each_score_is_bold_and_no_oracle_is(tmp_path):
    folder = write_run(tmp_path / "run")
    made = {"coarse": scores(0.7), "refined": scores(0.8), "oracle_8px": scores(0.99)}
    (folder / "metrics.json").write_text(json.dumps(made))
    bold = re.findall(r'<td class="number best">(.*?)</td>', write_report(folder).read_text(encoding="utf-8"))
    assert set(bold) >= {"80.0", "90.0", "85.0", "60.0"}
    assert not {"99.0", "70.0"} & set(bold)


def test_the_page_says_where_its_scores_come_from(tmp_path):
    folder = write_run(tmp_path / "run")
    made = {"coarse": scores(0.7), "run": {"started": "2026-01-31T12:00:00", "seconds": 125.2, "commit": None,
            "machine": "a <b>, 2 cores", "versions": {"torch": "2.5"}}}  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(made))
    shown = read(write_report(folder))
    for told in ("2026-01-31T12:00:00", "2 min 5 s", "a <b>, 2 cores", "torch 2.5"):
        assert told in shown.text
    assert "commit" not in shown.text


def test_many_classes_stay_in_a_table_of_their_own(tmp_path):
    folder = write_run(tmp_path / "run")
    names = [f"class number {index}" for index in range(150)]
    (folder / "data.json").write_text(json.dumps({"name": "many", "classes": names}))
    made = {method: scores(0.5, per_class_IoU=[0.5] * 150) for method in ("coarse", "refined")}
    (folder / "metrics.json").write_text(json.dumps(made))
    shown = read(write_report(folder))
    assert "class number 149" in shown.text
    assert not (folder / "figures" / "per_class.png").exists(), "nobody can read it"


def test_a_task_of_values_has_no_classes(tmp_path):
    folder = write_run(tmp_path / "run", examples=0)
    (folder / "data.json").write_text(json.dumps({"name": "matting", "classes": ["alpha"], "images": 7}))
    metrics = {"coarse": {"SAD": 2.0, "PSNR": 20.0}, "refined": {"SAD": 0.5, "PSNR": 30.0, "milliseconds": 4.0}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    picture = np.full((20, 30, 3), 99, np.uint8)
    kept = dict.fromkeys(("image", "picture_coarse", "picture_refined", "picture_truth"), picture)
    np.savez_compressed(folder / "examples" / "00_one.npz", **kept)
    shown = read(write_report(folder))
    assert (folder / "figures" / "values.png").is_file()
    assert "matting · 7 images · values: alpha" in shown.text
    assert "SAD, gradient and connectivity error are sums over the unknown pixels" in shown.text
    assert "PSNR, dB" in shown.text
    for word in ("mIoU", "1 classes", "IoU of each class"):
        assert word not in shown.text
