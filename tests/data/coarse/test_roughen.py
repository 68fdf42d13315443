"""Rough masks: like the truth, of its labels, and the same for the same seed."""

import cv2
import numpy as np
import pytest

from spatialprop.data.coarse.roughen import WAYS, Roughen, filled


@pytest.fixture
def labels():
    labels = np.zeros((96, 120), np.uint8)
    cv2.circle(labels, (60, 50), 30, 7, -1)
    cv2.line(labels, (5, 90), (115, 70), 3, 4)
    return labels


@pytest.mark.parametrize("way", WAYS)
def test_each_way_keeps_size_and_labels_and_changes_something(way, labels):
    made = [way(labels, 10.0, np.random.default_rng(seed)) for seed in range(20)]
    for rough in made:
        assert rough.shape == labels.shape
        assert rough.dtype == np.uint8
        assert set(np.unique(rough)) <= {0, 3, 7}
    assert any((rough != labels).any() for rough in made)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_takes_a_single_label_and_a_single_pixel(way):
    for shape in ((1, 1), (3, 40)):
        alone = np.full(shape, 5, np.uint8)
        np.testing.assert_array_equal(way(alone, 12.0, np.random.default_rng(0)), alone)


def test_mild_is_nearer_than_strong(labels):
    def wrong(severity):
        return np.mean([(Roughen()(labels, np.random.default_rng(i), severity) != labels).mean() for i in range(40)])

    assert 0 < wrong(0.1) < 0.03 < wrong(1.0) < 0.3


def test_one_seed_one_mask(labels):
    first, second = (Roughen()(labels, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_truth_is_left_alone(labels):
    before = labels.copy()
    for seed in range(30):
        Roughen()(labels, np.random.default_rng(seed))
    np.testing.assert_array_equal(labels, before)


def test_filled_takes_the_nearest_label():
    labels = np.array([[1, 1, 9, 9, 9, 2]], np.uint8)
    np.testing.assert_array_equal(filled(labels, labels == 9), [[1, 1, 1, 1, 2, 2]])
