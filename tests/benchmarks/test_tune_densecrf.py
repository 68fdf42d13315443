"""The search for DenseCRF's settings, on a tiny folder."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from spatialprop.metrics import SegmentationScores
from tests.data.tiny_folder import write_tiny_folder


@pytest.fixture
def search(monkeypatch):
    pytest.importorskip("pydensecrf")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("tune_densecrf")


def harmful(search):
    return [search.IDENTITY, {"colour_weight": 0, "smooth_weight": 30}]


def test_all_that_was_tried_is_printed_and_the_best_wins(search, tmp_path, monkeypatch, capsys):
    roots = [write_tiny_folder(tmp_path / name, images=8) for name in ("one", "two")]
    words = [*map(str, roots), "--images", "8", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["tune_densecrf.py", *words])
    monkeypatch.setattr(search, "GRID", [*search.GRID[:2], *search.GRID[-2:]])
    search.main()
    sets = json.loads((tmp_path / "out" / "densecrf_tuning.json").read_text())["sets"]
    assert [found["input"] for found in sets] == 2 * ["probabilities", "labels"]
    table = (tmp_path / "out" / "densecrf_tuning.md").read_text()
    shown = capsys.readouterr().out
    assert shown.endswith(table)
    for found in sets:
        first = [trial for trial in found["trials"] if trial["images"] == 2]
        second = [trial for trial in found["trials"] if trial["images"] == 8]
        assert [trial["settings"] for trial in first] == search.GRID
        assert second[0]["settings"] == search.IDENTITY
        assert found["settings"] == max(second, key=lambda trial: trial["mIoU"])["settings"]
        for trial in found["trials"]:
            assert f"| {search.in_words(trial['settings'])} | {trial['images']} | {100 * trial['mIoU']:.2f} |" in table
            assert f"{trial['mIoU']:.4f} on {trial['images']} images: {search.in_words(trial['settings'])}" in shown


def test_where_smoothing_only_harms_the_identity_wins(search, tmp_path, monkeypatch):
    data = search.ImageFolder(write_tiny_folder(tmp_path / "discs"), ["train"])
    monkeypatch.setattr(search, "GRID", harmful(search))
    monkeypatch.setattr(search, "around", lambda settings, kind: [settings | {"smooth_weight": 10}])
    best, tried = search.tune(data, images=4)
    assert best == search.IDENTITY
    scores = SegmentationScores(len(data.labels.classes), ignore_index=search.VOID)
    for index in range(4):
        coarse = search.whole(data[index].coarse, data[index].label.shape).argmax(axis=0)
        scores.update(*(search.torch.from_numpy(one)[None].long() for one in (coarse, data[index].label)))
    assert tried[0]["mIoU"] == scores.compute()["mIoU"].item()


def test_several_processes_find_the_same(search, tmp_path, monkeypatch):
    data = search.ImageFolder(write_tiny_folder(tmp_path / "discs"), ["train"])
    monkeypatch.setattr(search, "GRID", search.GRID[:3])
    assert search.tune(data, images=4, workers=2) == search.tune(data, images=4)


def test_around_the_best_one_value_at_a_time(search):
    settings = {"colour_weight": 2, "colour_reach": 20, "colour_deviation": 3, "smooth_weight": 3}
    near = search.around(settings, "probabilities")
    assert {"colour_weight": 1, "colour_reach": 20, "colour_deviation": 3, "smooth_weight": 3} in near
    assert len(near) == 7
    assert all(sum(one[key] != settings[key] for key in settings) == 1 for one in near)
    smooth = {"colour_weight": 0, "smooth_weight": 3}
    assert search.around(smooth, "probabilities") == [smooth | {"smooth_weight": 1}]
    assert search.around(smooth, "labels")[1:] == [smooth | {"certainty": 0.5}, smooth | {"certainty": 0.9}]


def test_labels_are_as_large_as_the_image_and_as_certain_as_said(search, tmp_path):
    data = search.ImageFolder(write_tiny_folder(tmp_path / "discs"), ["val"])
    labels = search.given(data[0], "labels")
    assert labels.shape == data[0].label.shape
    small = data[0].coarse.argmax(axis=0)
    assert (labels[::2, ::2].mean() - small.mean()) < 0.2
    shares = search.shares(labels, labels.shape, len(data.labels.classes), 0.7)
    assert (shares.argmax(axis=0) == labels).all()
    np.testing.assert_allclose(shares.max(axis=0), 0.7)
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-6)


def test_images_are_spread_over_the_split(search):
    assert search.spread_out(10, 3) == [0, 3, 6]
    assert search.spread_out(2, 5) == search.spread_out(2, None) == [0, 1]


def test_a_cell_without_any_probability_stays_a_number(search):
    coarse = np.full((3, 4, 5), 85, np.uint8)
    coarse[:, 1, 2] = 0  # all of it was a class that the data set does not have
    shares = search.whole(coarse, (32, 40))
    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares[:, 30, 30], 1 / 3, atol=1e-6)
