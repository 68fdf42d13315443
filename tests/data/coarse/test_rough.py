"""Rough masks of the truth: as far off as they say, and the truth among them."""

import numpy as np
import pytest

from spatialprop.data import VOID, RoughTruth

SIZE = (96, 80)


@pytest.fixture
def label():
    label = np.zeros(SIZE, np.uint8)
    label[:, 40:] = 2
    label[60:, :40] = 1
    return label


@pytest.fixture
def coarse():
    maps = np.full((3, *SIZE), 0.1, np.float32)
    maps[2] = 0.8
    return maps


def shown(coarse, label, count=60, **options):
    rough = RoughTruth(share=1, **options)
    return [rough(coarse, label, np.random.default_rng(seed)) for seed in range(count)]


def test_probabilities_of_the_patch_size(coarse, label):
    for rough in shown(coarse, label):
        assert rough.shape == coarse.shape
        assert rough.dtype == np.float32
        np.testing.assert_allclose(rough.sum(axis=0), 1, atol=1e-5)


def test_some_are_true_and_none_is_off_by_much_more_than_a_cell(coarse, label):
    wrong = np.stack([rough.argmax(axis=0) != label for rough in shown(coarse, label, cells=8)])
    share = wrong.mean(axis=(1, 2))
    assert 0.05 < (share == 0).mean() < 0.5
    assert 0.003 < share[share > 0].mean() < 0.2
    far = np.ones(SIZE, bool)
    far[44:76, :40] = far[:, 24:56] = False  # two cells on either side of any border
    assert not wrong[:, far].any()


def test_cells_and_blurs_are_of_many_widths(coarse, label):
    doubtful = [(rough.max(axis=0) < 0.75).mean() for rough in shown(coarse, label)]
    assert max(doubtful) > 4 * np.quantile(doubtful, 0.1)


def test_void_is_as_the_coarse_map_has_it(coarse, label):
    label[20:50, 5:35] = VOID
    rough = shown(coarse, label, cells=4)
    assert (np.mean([one.argmax(axis=0)[30:40, 15:25] == 2 for one in rough])) > 0.95


def test_the_others_stay_as_they_are(coarse, label):
    rough = RoughTruth(share=0.3)
    same = [rough(coarse, label, np.random.default_rng(seed)) is coarse for seed in range(200)]
    assert 0.6 < np.mean(same) < 0.8


def test_drawn_by_the_generator_alone(coarse, label):
    again = [RoughTruth(share=1)(coarse, label, np.random.default_rng(7)) for _ in range(2)]
    assert (again[0] == again[1]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 1.2}, "share must be from 0 to 1; got 1.2"),
        ({"cells": 2}, "cells must be a number of pixels, at least 4; got 2"),
        ({"cells": float("nan")}, "cells must be a number of pixels, at least 4; got nan"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RoughTruth(**options)
