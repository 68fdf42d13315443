"""Coarse maps get worse, as much as is asked for."""

import numpy as np
import pytest

from spatialprop.data import DegradeCoarse


@pytest.fixture
def coarse():
    """Two classes side by side, one more nowhere, fairly certain."""
    maps = np.zeros((3, 12, 17), np.float32)
    maps[0, :, :8], maps[1, :, 8:] = 0.9, 0.9
    maps[2] = 0.1
    return np.rint(maps * 255).astype(np.uint8)


def certainty(maps):
    return (maps.max(axis=0) / maps.sum(axis=0)).mean()


def test_still_probabilities(coarse):
    for seed in range(20):
        worse = DegradeCoarse()(coarse, np.random.default_rng(seed))
        assert worse.shape == coarse.shape
        assert worse.dtype == np.uint8
        assert np.abs(worse.astype(int).sum(axis=0) - 255).max() <= 2  # each of three classes is rounded


def test_doubt_changes_certainty_and_no_winner(coarse):
    degrade = DegradeCoarse(doubt=0.6, errors=0, shift=0)
    worse = [degrade(coarse, np.random.default_rng(seed)) for seed in range(20)]
    assert all((maps.argmax(axis=0) == coarse.argmax(axis=0)).all() for maps in worse)
    certain = [certainty(maps) for maps in worse]
    assert min(certain) < certainty(coarse) - 0.05
    assert max(certain) > certainty(coarse)


def test_shift_moves_borders_and_keeps_flat_regions(coarse):
    degrade = DegradeCoarse(doubt=0, errors=0, shift=1.0)
    moved = [degrade(coarse, np.random.default_rng(seed)).argmax(axis=0) != coarse.argmax(axis=0) for seed in range(20)]
    assert np.mean(moved) > 0.02
    assert max(mask.mean() for mask in moved) < 0.3
    assert not np.logical_or.reduce(moved)[:, [0, 1, -2, -1]].any(), "only what lies near the border moves"


def test_errors_come_in_regions(coarse):
    degrade = DegradeCoarse(doubt=0, errors=4, shift=0)
    wrong = np.stack(
        [degrade(coarse, np.random.default_rng(seed)).argmax(axis=0) != coarse.argmax(axis=0) for seed in range(40)]
    )
    share = wrong.mean()
    beside = (wrong[:, :, 1:] & wrong[:, :, :-1]).sum() / wrong[:, :, :-1].sum()
    assert 0.02 < share < 0.5
    assert beside > 2 * share, "a wrong cell has wrong neighbours"


def test_drawn_anew_and_by_the_generator_alone(coarse):
    degrade = DegradeCoarse()
    again = [degrade(coarse, np.random.default_rng(7)) for _ in range(2)]
    assert (again[0] == again[1]).all()
    assert (degrade(coarse, np.random.default_rng(8)) != again[0]).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1)])
def test_tiny_maps(size):
    worse = DegradeCoarse()(np.full((2, *size), 128, np.uint8), np.random.default_rng(0))
    assert worse.shape == (2, *size)


@pytest.mark.parametrize(
    ("wrong", "named"), [({"doubt": 1}, "doubt"), ({"errors": -1}, "errors"), ({"shift": -1}, "shift")]
)
def test_impossible_amounts(wrong, named):
    with pytest.raises(ValueError, match=named):
        DegradeCoarse(**wrong)


def test_a_share_is_worsened_and_the_rest_left_alone(coarse):
    degrade = DegradeCoarse(share=0.3)
    left_alone = [(degrade(coarse, np.random.default_rng(seed)) == coarse).all() for seed in range(200)]
    assert 0.6 < np.mean(left_alone) < 0.8


def test_an_impossible_share_is_refused():
    with pytest.raises(ValueError, match=r"share must be from 0 to 1; got 1.5"):
        DegradeCoarse(share=1.5)
