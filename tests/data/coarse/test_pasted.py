"""Pasted shapes: exact truth, real texture."""

import numpy as np
import pytest

from spatialprop.data.coarse.pasted import SHAPES, draw, paste


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_masks_and_often_show_something(shape):
    masks = [shape(96, 128, np.random.default_rng(seed)) for seed in range(12)]
    assert all(mask.shape == (96, 128) and mask.dtype == np.uint8 for mask in masks)
    assert sum(0.001 < (mask > 127).mean() < 0.999 for mask in masks) >= 8


def test_a_seed_is_a_shape():
    np.testing.assert_array_equal(*(draw(64, 64, np.random.default_rng(5)) for _ in range(2)))


def test_labels_say_what_is_seen():
    below, above = np.zeros((64, 96, 3), np.uint8), np.full((64, 96, 3), 250, np.uint8)
    mask = np.zeros((64, 96), np.uint8)
    mask[20:40, 30:60] = 255
    image, labels = paste(below, [above], np.random.default_rng(0), [mask])
    np.testing.assert_array_equal(labels, mask // 255)
    assert image.dtype == np.uint8
    assert image[25:35, 40:50].mean() > image[:10].mean()


def test_a_later_shape_covers_an_earlier_one():
    photographs = [np.full((32, 32, 3), value, np.uint8) for value in (0, 100, 200)]
    everything = np.full((32, 32), 255, np.uint8)
    _, labels = paste(photographs[0], photographs[1:], np.random.default_rng(0), [everything, everything])
    assert (labels == 2).all()
