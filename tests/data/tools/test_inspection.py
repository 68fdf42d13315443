"""A look at every file finds everything that is wrong, and counts what is right."""

import numpy as np
import pytest
from PIL import Image

from spatialprop.data import ImageFolder, SyntheticShapes
from spatialprop.data.sets import tolerate_missing
from spatialprop.data.tools import inspect_example, inspect_split
from tests.data.tiny_folder import save_label, write_tiny_folder


@pytest.fixture
def root(tmp_path):
    return write_tiny_folder(tmp_path / "discs", splits=("train",), images=8)


def report_of(root, **options):
    with tolerate_missing():
        data = ImageFolder(root, ["train"])
    return list(inspect_split(data, **options))[-1]


@pytest.mark.parametrize("workers", [1, 3])
def test_counts_are_those_of_the_labels(root, workers):
    report = report_of(root, workers=workers)
    data = ImageFolder(root, ["train"])
    stack = np.stack([data[index].label for index in range(8)])
    assert (report.images, dict(report.sizes), report.with_coarse, report.problems) == (8, {(40, 56): 8}, 8, [])
    np.testing.assert_array_equal(report.pixels, np.bincount(stack.ravel(), minlength=256))
    assert report.images_with[2] == (stack == 2).any(axis=(1, 2)).sum()
    assert report.void_share == pytest.approx((stack == 255).mean())
    assert report.class_share(0) == pytest.approx((stack == 0).sum() / (stack != 255).sum())


def test_every_problem_is_told_not_just_the_first(root):
    train = root / "train"
    (train / "images" / "train_0.jpg").unlink()  # its label stays behind
    (train / "labels" / "train_1.png").unlink()
    (train / "images" / "train_2.jpg").write_bytes((train / "images" / "train_2.jpg").read_bytes()[:50])
    save_label(train / "labels" / "train_2.png", np.full((40, 56), 77, np.uint8))
    np.savez(train / "coarse" / "train_2.npz", probs=np.zeros((3, 5, 7), np.uint8))
    save_label(train / "labels" / "train_3.png", np.zeros((40, 55), np.uint8))
    (train / "coarse" / "train_4.npz").write_bytes(b"")
    save_label(train / "labels" / "train_5.png", np.full((40, 56), 4, np.uint8))
    report = report_of(root)
    told = [
        "train_0.png is the label map of no image",
        "train_1.png does not exist",
        "train_2.jpg cannot be read as an image",
        "train_2.npz has shape (3, 5, 7)",
        "train_2.png holds the label 77",
        "train_3.png is 55x40 but its image",
        "train_4.npz cannot be read as a coarse map",
        "train_5.png holds the label 4",
    ]
    assert len(report.problems) == len(told)
    for words, problem in zip(told, report.problems, strict=True):
        assert words in problem
    assert report.images == 7
    assert report.sizes == {(40, 56): 3}  # a broken coarse map leaves image and label readable


def test_a_data_set_that_must_be_whole_still_is_refused(root):
    (root / "train" / "labels" / "train_1.png").unlink()
    with tolerate_missing():
        ImageFolder(root, ["train"])
    with pytest.raises(FileNotFoundError, match=r"train_1\.png does not exist"):
        ImageFolder(root, ["train"])


def test_data_sets_without_files_are_looked_at_too(tmp_path):
    assert inspect_example(SyntheticShapes("train", 1, size=(16, 16)), 0)[1] == []

    class Broken(SyntheticShapes):
        def __getitem__(self, index):
            raise ValueError("it is broken")

    assert list(inspect_split(Broken("train", 1)))[-1].problems == ["train_00000: it is broken"]


def test_stopping_early_does_not_wait_for_the_rest(root):
    reports = inspect_split(ImageFolder(root, ["train"]), workers=1)
    assert next(reports).images == 1
    reports.close()


def test_names_that_are_no_pictures(root):
    Image.new("RGB", (5, 5)).save(root / "train" / "images" / "other.gif")
    assert report_of(root).problems == []
