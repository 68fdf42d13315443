"""Windows lie where they should, and hold what they should."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spatialprop.data import VOID, SquarePatches, WholeImages
from spatialprop.data.loading.patches import multi_label_positions

LABELS = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([0, 0, 0, 1, 254, VOID, VOID]),
    fill=st.just(0),
)
SEPARATED = np.array([[1, 1, VOID, VOID, 2, 2]], np.uint8).repeat(5, axis=0)


def labels_inside(label, top, left, side):
    return np.setdiff1d(label[top : top + side, left : left + side], VOID)


def slow_positions(label, side):
    height, width = (max(1, extent - side + 1) for extent in label.shape)
    return np.array(
        [[len(labels_inside(label, top, left, side)) > 1 for left in range(width)] for top in range(height)]
    )


def two_corners(height=50, width=70):
    label = np.zeros((height, width), np.uint8)
    label[:3, :4], label[-2:, -2:] = 1, 2
    return label


def windows(patches, label, count=300):
    rng = np.random.default_rng(0)
    return [patches.choose(label, rng) for _ in range(count)]


@given(LABELS, st.integers(1, 14))
@example(SEPARATED, 3)
@example(SEPARATED, 4)
@example(SEPARATED, 100)
def test_positions_agree_with_looking_into_every_window(label, side):
    np.testing.assert_array_equal(multi_label_positions(label, side), slow_positions(label, side))


@given(LABELS, st.integers(1, 14), st.integers(0, 9))
def test_windows_hold_more_than_one_label_wherever_there_is_such_a_window(label, side, seed):
    assume(slow_positions(label, side).any())
    top, left, height, width = SquarePatches(side, multi_label=True).choose(label, np.random.default_rng(seed))
    assert (height, width) == (side, side)
    assert len(labels_inside(label, top, left, side)) > 1


def test_every_valid_position_is_as_likely():
    label = np.zeros((50, 70), np.uint8)
    label[:, 40:] = 1
    valid = slow_positions(label, 16)
    assert not valid.all()
    counts = np.zeros(valid.shape)
    for window in windows(SquarePatches(16, multi_label=True), label, 20 * int(valid.sum())):
        counts[window.top, window.left] += 1
    assert (counts > 0)[valid].all()
    assert counts[~valid].sum() == 0
    assert counts[valid].var() / counts[valid].mean() == pytest.approx(1, abs=0.2)  # as of a Poisson distribution


def test_uniform_windows_reach_every_corner():
    chosen = windows(SquarePatches(60), two_corners(62, 63), 500)
    assert {(window.top, window.left) for window in chosen} == {(top, left) for top in range(3) for left in range(4)}


@pytest.mark.parametrize("label", [np.zeros((20, 30), np.uint8), np.full((20, 30), VOID, np.uint8)])
@pytest.mark.parametrize("value", [0, 5])
def test_an_image_without_such_a_window_gives_any(label, value):
    label = np.where(label == VOID, label, value).astype(np.uint8)
    chosen = windows(SquarePatches(8, multi_label=True), label)
    assert len({(window.top, window.left) for window in chosen}) > 100
    assert max(window.top for window in chosen) == 12


def test_an_outline_of_void_is_no_second_label():
    label = np.zeros((40, 60), np.uint8)
    label[10, :], label[30:, 40:] = VOID, 1
    for top, left, *_ in windows(SquarePatches(8, multi_label=True), label):
        assert top + 8 > 30
        assert left + 8 > 40


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("height", "width"), [(10, 90), (90, 10), (10, 10), (32, 32), (33, 90)])
def test_windows_leave_only_images_that_are_smaller(height, width, multi_label):
    for top, left, side, _ in windows(SquarePatches(32, multi_label=multi_label), two_corners(height, width), 100):
        assert side == 32
        assert 0 <= top <= max(0, height - side)
        assert 0 <= left <= max(0, width - side)


def test_magnification_is_even_in_the_logarithm():
    patches = SquarePatches(32, scale=[0.5, 2.0], multi_label=True)
    chosen = windows(patches, two_corners(200, 200), 500)
    sides = np.array([window.height for window in chosen])
    assert (sides.min(), sides.max()) == (16, 64)
    assert np.mean(sides < 32) == pytest.approx(0.5, abs=0.08)
    assert {patches.output_size(window) for window in chosen} == {(32, 32)}
    assert all(window.height == window.width for window in chosen)


def test_the_same_generator_gives_the_same_windows():
    patches = SquarePatches(16, scale=[0.5, 2], multi_label=True)
    assert windows(patches, two_corners()) == windows(patches, two_corners())


def test_whole_images():
    (window,) = set(windows(WholeImages(), two_corners(7, 9), 5))
    assert window == (0, 0, 7, 9)
    assert WholeImages().output_size(window) == (7, 9)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_that_is_none(size):
    with pytest.raises(ValueError, match=rf"patches\.size must be at least 1 pixel; got {size}"):
        SquarePatches(size)


@pytest.mark.parametrize("scale", [(0, 1), (2, 1), (-1, 1), (float("nan"), 1)])
def test_a_scale_that_is_none(scale):
    with pytest.raises(ValueError, match=r"patches\.scale must be two magnifications, 0 < smallest <= largest; got"):
        SquarePatches(8, scale=scale)
