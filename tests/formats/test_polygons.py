"""Outlines: the mask that is drawn from them is the one that they were found in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatialprop.formats import outlines

codec = pytest.importorskip("pycocotools.mask", reason="pip install 'spatialprop[coco]'")


def drawn(rings, height, width):
    flat = [[float(value) for corner in ring for value in corner] for ring in rings]
    return codec.decode(codec.merge(codec.frPyObjects(flat, height, width)))


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 0.9))
def test_the_same_mask_is_drawn_from_them(seed, height, width, share):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    if mask.any():
        np.testing.assert_array_equal(drawn(outlines(mask), height, width), mask)


def test_holes_within_holes():
    mask = np.zeros((40, 40), np.uint8)
    for step in range(0, 18, 2):
        mask[step : 40 - step, step : 40 - step] = step // 2 % 2 == 0
    found = outlines(mask)
    assert len(found) == 5  # rings within rings, each a part of its own
    np.testing.assert_array_equal(drawn(found, 40, 40), mask)


def test_nothing_has_no_outline():
    assert outlines(np.zeros((3, 4))) == []
