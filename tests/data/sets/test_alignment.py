"""Key points, and the transforms made from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatialprop.data.sets.alignment import COLUMNS, centred, mean_shape, outside, read_key_points, similarity, warp
from tests.data.sets.test_helen import FACE, placed


def moved(transform, points):
    return points @ transform[:, :2].T + transform[:, 2]


def squared_error(transform, source, target):
    return ((moved(transform, source) - target) ** 2).sum()


@given(st.floats(-3.1, 3.1), st.floats(0.1, 10), st.floats(-500, 500), st.floats(-500, 500))
def test_a_similarity_is_found_again(angle, scale, x, y):
    target = placed(FACE, angle, scale, np.array([x, y]))
    np.testing.assert_allclose(moved(similarity(FACE, target), FACE), target, atol=1e-6)


@given(st.integers(0, 10_000))
def test_no_other_rotation_scale_and_shift_is_closer(seed):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, 5, 2))
    best = similarity(source, target)
    assert np.linalg.det(best[:, :2]) > 0
    scale_cos, scale_sin = best[0, 0], best[1, 0]
    np.testing.assert_allclose(best[:, :2], [[scale_cos, -scale_sin], [scale_sin, scale_cos]], atol=1e-9)
    error = squared_error(best, source, target)
    for change in rng.normal(0, 1e-2, (20, 4)):
        a, b = scale_cos + change[0], scale_sin + change[1]
        other = np.column_stack([[[a, -b], [b, a]], best[:, 2] + change[2:]])
        assert squared_error(other, source, target) >= error - 1e-12


def test_a_mirror_image_is_not_mirrored_back():
    mirrored = FACE * (-1, 1)
    transform = similarity(FACE, mirrored)
    assert np.linalg.det(transform[:, :2]) > 0
    assert squared_error(transform, FACE, mirrored) > 1


def test_one_point_five_times():
    with pytest.raises(ValueError, match="one and the same"):
        similarity(np.ones((5, 2)), FACE)
    with pytest.raises(ValueError, match="one and the same"):
        mean_shape(np.stack([FACE, np.ones((5, 2))]), 64)


def test_the_mean_shape_has_the_form_stance_and_mean_size_of_the_faces():
    rng = np.random.default_rng(0)
    scales = np.array([0.5, 1.0, 2.0])
    tilts = np.array([-0.3, 0.1, 0.2])
    shapes = np.stack(
        [placed(FACE, tilt, scale, rng.uniform(0, 900, 2)) for tilt, scale in zip(tilts, scales, strict=True)]
    )
    mean = mean_shape(shapes, 101)
    np.testing.assert_allclose(mean.mean(axis=0), [50, 50])
    transform = similarity(FACE, mean)
    np.testing.assert_allclose(moved(transform, FACE), mean, atol=1e-6)  # the form
    assert np.hypot(*transform[:, 0]) == pytest.approx(1.0)  # the geometric mean of the sizes
    lean = np.arctan2(transform[1, 0], transform[0, 0])
    assert min(tilts) < lean < max(tilts)


def test_what_lies_beyond_the_image():
    transform = centred((3, 4), 8)
    beyond = outside((3, 4), transform, 8)
    assert np.argwhere(~beyond).min(axis=0).tolist() == [2, 2]
    assert np.argwhere(~beyond).max(axis=0).tolist() == [4, 5]
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(warp(image, transform, 8)[2:5, 2:6], image)
    np.testing.assert_array_equal(warp(image, centred((3, 4), 2), 2), image[1:3, 1:3])
    assert not outside((3, 4), centred((3, 4), 2), 2).any()


def write(path, *rows, columns=COLUMNS):
    path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return path


def test_key_points_are_read_by_the_names_of_their_columns(tmp_path):
    path = write(tmp_path / "a.csv", "a, 1,2, 3,4, 5,6, 7,8, 9,10.5")
    assert read_key_points(path)["a"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]
    order = [COLUMNS[i] for i in (0, 3, 4, 1, 2, 5, 6, 7, 8, 9, 10)]
    path = write(tmp_path / "b.csv", "a,3,4,1,2,5,6,7,8,9,10.5", columns=order)
    assert read_key_points(path)["a"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a,1,2,3,4,5,6,7,8,9"], "line 2: every column must be a number"),
        (["a,1,2,3,4,5,6,7,8,9,x"], "line 2: every column must be a number"),
        (["a,1,2,3,4,5,6,7,8,9,nan"], "line 2: key points must be finite"),
        (["a,1,2,3,4,5,6,7,8,9,10"] * 2, "line 3: 'a' has key points already"),
    ],
)
def test_key_points_that_make_no_sense(tmp_path, rows, words):
    with pytest.raises(ValueError, match=rf"a\.csv, {words}"):
        read_key_points(write(tmp_path / "a.csv", *rows))


def test_key_points_without_their_columns(tmp_path):
    with pytest.raises(ValueError, match=r"has the columns name,x,y; it needs the columns name,left_eye_x,left_eye_y"):
        read_key_points(write(tmp_path / "a.csv", columns=("name", "x", "y")))
    with pytest.raises(FileNotFoundError, match="do not exist; it needs the columns name,left_eye_x"):
        read_key_points(tmp_path / "nowhere.csv")
