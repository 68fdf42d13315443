"""Simulated coarse maps look like a segmenter's: near the truth, and wrong at its borders."""

import numpy as np
import pytest

from spatialprop.data import VOID, Example, SimulatedCoarse, SyntheticShapes, Window, crop_coarse

CLASSES = len(SyntheticShapes.labels.classes)


def labelled(label, name="one"):
    return Example(name, np.zeros((*label.shape, 3), np.uint8), label)


def mean_iou(maps, examples):
    confusion = np.zeros((CLASSES, CLASSES))
    for coarse, example in zip(maps, examples, strict=True):
        size = example.label.shape
        chosen = crop_coarse(coarse, size, Window(0, 0, *size), size).argmax(0)
        np.add.at(confusion, (example.label, chosen), 1)
    return np.mean(np.diag(confusion) / (confusion.sum(0) + confusion.sum(1) - np.diag(confusion)))


def test_is_visibly_coarse_and_yet_of_use():
    examples = list(SyntheticShapes("train", 12))
    assert 0.5 < mean_iou([SimulatedCoarse(CLASSES)(example) for example in examples], examples) < 0.8
    finer = SimulatedCoarse(CLASSES, stride=4, shift=1)
    assert mean_iou([finer(example) for example in examples], examples) > 0.8


def test_is_the_same_whenever_it_is_asked_for():
    one, other = SyntheticShapes("train", 2, size=(64, 64))
    first, again = SimulatedCoarse(CLASSES), SimulatedCoarse(CLASSES)
    expected = first(one)
    first(other)
    np.testing.assert_array_equal(first(one), expected)
    np.testing.assert_array_equal(again(one), expected)
    assert not np.array_equal(again(one._replace(name="another")), expected)
    assert not np.array_equal(SimulatedCoarse(CLASSES, seed=1)(one), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (8, 8), (41, 57), (64, 96)])
@pytest.mark.parametrize("stride", [4, 8])
def test_probabilities_add_up_at_any_size(size, stride):
    label = np.random.default_rng(0).choice([0, 1, 4, VOID], size).astype(np.uint8)
    coarse = SimulatedCoarse(5, stride)(labelled(label))
    assert coarse.shape == (5, -(-size[0] // stride), -(-size[1] // stride))
    assert coarse.dtype == np.uint8
    np.testing.assert_allclose(coarse.sum(0, dtype=int), 255, atol=3)


def test_where_all_is_void_every_class_is_as_likely():
    coarse = SimulatedCoarse(4)(labelled(np.full((32, 32), VOID, np.uint8)))
    assert set(np.unique(coarse)) == {64}
    half = np.zeros((64, 64), np.uint8)
    half[:, 32:] = VOID
    coarse = SimulatedCoarse(4)(labelled(half))
    assert (coarse[0, :, :3] > 128).all()
    assert (coarse[:, :, -1] == 64).all()


def test_a_class_that_is_alone_stays_the_most_likely():
    coarse = SimulatedCoarse(3)(labelled(np.full((40, 40), 2, np.uint8)))
    assert (coarse.argmax(0) == 2).all()
    assert len(np.unique(coarse[2])) > 5  # but not everywhere as certain


@pytest.mark.parametrize("stride", [1, 8])
def test_the_map_lies_where_the_label_does(stride):
    label = np.zeros((128, 128), np.uint8)
    label[:, 48:] = 1
    coarse = SimulatedCoarse(2, stride, shift=0)(labelled(label))
    np.testing.assert_array_equal(coarse.argmax(0), label[::stride, ::stride])
