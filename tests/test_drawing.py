"""Overlays, sheets, and tints."""

import numpy as np
import pytest

from spatialprop.drawing import class_colours, overlay, relative_affinity, sheet, tint_by_affinity
from tests.refiner.networks import photograph

LABELS = np.zeros((24, 32), np.uint8)
LABELS[4:20, 6:22] = 3


def test_overlay_tints_classes_and_draws_borders():
    image = np.full((24, 32, 3), 100, np.uint8)
    drawn = overlay(image, LABELS)
    assert (drawn[0, 0] == 100).all()
    np.testing.assert_array_equal(drawn[10, 10], np.rint(0.45 * 100 + 0.55 * class_colours()[3]))
    assert (drawn[10, 5] == 255).all()
    assert (overlay(image, LABELS.astype(np.int64) * 100)[10, 10] == drawn[10, 10]).sum() < 3


def test_sheet_is_wide_enough_to_read():
    assert sheet(photograph(24, 32), LABELS, np.zeros_like(LABELS)).width > 1600


@pytest.mark.parametrize("size", [(1000, 500), (4, 8000), (8000, 4), (1, 2000), (2000, 1)])
def test_sheet_is_bounded_on_both_sides(size):
    picture = sheet(photograph(*size), *[np.zeros(size, int)] * 2)
    assert picture.width < 3200
    assert picture.height < 4500


def test_affinity_is_tinted_red_and_blue():
    values = relative_affinity(np.array([[4.0, -1.0, 0.0]], np.float32))
    np.testing.assert_allclose(values, [[1, -1, 0]])
    tinted = tint_by_affinity(np.full((1, 3, 3), 255.0), values)[0]
    assert tinted[0, 0] > tinted[0, 2]
    assert tinted[1, 0] < tinted[1, 2]
    assert (tinted[2] == 255).all()
