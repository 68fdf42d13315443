"""The built-in data set: reproducible anywhere, and hard in the way that it says."""

import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from spatialprop.data import SyntheticShapes

CLASSES = len(SyntheticShapes.labels.classes)
FINGERPRINT = """
import zlib
from spatialprop.data import SyntheticShapes
example = SyntheticShapes("train", 9, seed=4, size=(96, 130))[6]
print(zlib.crc32(example.image.tobytes()), zlib.crc32(example.label.tobytes()))
"""


@pytest.fixture(scope="module")
def examples():
    return list(SyntheticShapes("test", 20))


def union_scores(pairs):
    """IoU of each class, from (prediction, label) pairs."""
    hits, unions = np.zeros(CLASSES), np.zeros(CLASSES)
    for prediction, label in pairs:
        for value in range(CLASSES):
            hits[value] += np.sum((prediction == value) & (label == value))
            unions[value] += np.sum((prediction == value) | (label == value))
    return hits / unions


def shares(label):
    """Share of each class in each cell of 8 x 8 pixels. (K, H / 8, W / 8)"""
    height, width = label.shape
    one_hot = np.eye(CLASSES, dtype=np.float32)[label]
    return one_hot.reshape(height // 8, 8, width // 8, 8, CLASSES).mean(axis=(1, 3)).transpose(2, 0, 1)


def enlarged(maps, size):
    return np.stack([cv2.resize(one, size[::-1], interpolation=cv2.INTER_LINEAR) for one in maps])


def test_an_example_is_an_image_with_its_label():
    data = SyntheticShapes("train", 3, size=(50, 71))
    image, label = data[1].image, data[1].label
    assert (image.shape, image.dtype) == ((50, 71, 3), np.uint8)
    assert (label.shape, label.dtype) == ((50, 71), np.uint8)
    assert data[1].coarse is None
    assert [example.name for example in data] == list(data.names)
    assert len(set(data.names)) == len(data) == 3


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (500, 700)])
def test_any_size(size):
    example = SyntheticShapes("train", 1, size=size)[0]
    assert example.image.shape[:2] == example.label.shape == size
    assert example.label.max() < CLASSES


@pytest.mark.slow
def test_an_image_is_the_same_in_another_process():
    example = SyntheticShapes("train", 9, seed=4, size=(96, 130))[6]
    elsewhere = subprocess.run([sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True).stdout
    assert elsewhere.split() == [str(zlib.crc32(part.tobytes())) for part in (example.image, example.label)]


def test_an_image_depends_neither_on_the_order_nor_on_the_count():
    few, many = SyntheticShapes("train", 4), SyntheticShapes("train", 50)
    forwards = [few[index].image for index in range(4)]
    for index in reversed(range(4)):
        np.testing.assert_array_equal(many[index].image, forwards[index])
    np.testing.assert_array_equal(few[-1].image, forwards[3])


def test_split_seed_and_index_each_give_other_images():
    pictures = [
        SyntheticShapes("train", 2)[0],
        SyntheticShapes("train", 2)[1],
        SyntheticShapes("test", 2)[0],
        SyntheticShapes("train", 2, seed=1)[0],
    ]
    assert len({example.image.tobytes() for example in pictures}) == 4
    assert len({example.label.tobytes() for example in pictures}) == 4


def test_every_class_fills_a_fair_share(examples):
    counts = np.bincount(np.concatenate([example.label.ravel() for example in examples]), minlength=CLASSES)
    frequency = counts / counts.sum()
    assert len(frequency) == CLASSES
    assert frequency[0] < 0.75
    assert frequency.min() > 0.02


def test_limbs_vanish_at_an_eighth_of_the_resolution(examples):
    for value in range(1, CLASSES):
        present = [example.label == value for example in examples]
        vanished = [
            mask & (np.kron(shares(example.label).argmax(0), np.ones((8, 8))) != value)
            for mask, example in zip(present, examples, strict=True)
        ]
        assert np.sum(vanished) > 0.08 * np.sum(present), SyntheticShapes.labels.classes[value]


def test_even_a_perfect_segmentation_at_an_eighth_misses_much(examples):
    pairs = [(enlarged(shares(example.label), example.label.shape).argmax(0), example.label) for example in examples]
    assert 0.75 < union_scores(pairs).mean() < 0.88


def test_borders_bend_and_run_diagonally(examples):
    """A third of all angles lie within 15 degrees of an axis; so do not many more of the borders."""
    axis_parallel = []
    for example in examples:
        for value in range(1, CLASSES):
            soft = cv2.GaussianBlur((example.label == value).astype(np.float32), (0, 0), 1.5)
            down, across = np.gradient(soft)
            steep = np.hypot(down, across) > 0.1
            angle = np.degrees(np.arctan2(down[steep], across[steep])) % 90
            axis_parallel.append((angle < 15) | (angle > 75))
    assert np.concatenate(axis_parallel).mean() < 0.4


def test_most_borders_show_in_the_image_but_not_all(examples):
    """Colours 3 pixels to either side of a border, compared with two pixels as far apart inside a class."""
    beside, inside = [], []
    for example in examples:
        pixels = cv2.GaussianBlur(example.image, (0, 0), 1).astype(float)
        step = np.linalg.norm(pixels[:, 6:] - pixels[:, :-6], axis=2)
        same = example.label[:, 6:] == example.label[:, :-6]
        inside.append(step[same])
        beside.append(step[~same])
    beside, inside = np.concatenate(beside), np.concatenate(inside)
    assert np.median(beside) > 4 * np.median(inside)
    assert 0.02 < np.mean(beside < np.quantile(inside, 0.9)) < 0.4


@pytest.mark.parametrize("index", [2, -3])
def test_an_image_that_does_not_exist(index):
    with pytest.raises(IndexError, match=f"image {index} of 2"):
        SyntheticShapes("train", 2)[index]


@pytest.mark.parametrize("wrong", [{"count": -1}, {"seed": -1}, {"size": (0, 9)}])
def test_arguments_out_of_range(wrong):
    with pytest.raises(ValueError, match="must not be negative and sides must be at least 1 pixel; got count = "):
        SyntheticShapes("train", **{"count": 1, **wrong})
