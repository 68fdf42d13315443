"""Baselines of mattes and colours."""

from importlib.util import find_spec

import numpy as np
import pytest

from spatialprop import baselines
from spatialprop.baselines import make, make_all
from spatialprop.baselines.optimization import Optimization


def halves(height=12, width=17):
    """Two halves of different brightness, a known value in each."""
    image = np.full((1, height, width), 0.2, np.float32)
    image[:, :, width // 2 :] = 0.8
    values, confidence = np.zeros((2, height, width), np.float32), np.zeros((height, width), np.float32)
    for column, value in ((2, (0.3, -0.2)), (width - 3, (-0.1, 0.4))):
        values[:, 5, column], confidence[5, column] = value, 1
    return image, values, confidence


def test_optimization_fills_what_looks_alike():
    image, values, confidence = halves()
    result = Optimization()(image, values, confidence)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[:, :, :8], np.broadcast_to([[[0.3]], [[-0.2]]], (2, 12, 8)), atol=0.01)
    np.testing.assert_allclose(result[:, :, 8:], np.broadcast_to([[[-0.1]], [[0.4]]], (2, 12, 9)), atol=0.01)


def test_optimization_solves_the_paper_s_equation():
    """Every unknown value is the weighted mean of its eight neighbours, whatever wrote the system down."""
    rng = np.random.default_rng(0)
    image, values = rng.random((1, 6, 7), np.float32), rng.random((1, 6, 7), np.float32)
    confidence = (rng.random((6, 7)) < 0.2).astype(np.float32)
    result = Optimization()(image, values, confidence)[0]
    y = image[0].astype(float)
    for i in range(6):
        for j in range(7):
            if confidence[i, j]:
                assert result[i, j] == pytest.approx(values[0, i, j])
                continue
            window = [(a, b) for a in range(max(0, i - 1), min(6, i + 2)) for b in range(max(0, j - 1), min(7, j + 2))]
            apart = {place: (y[place] - y[i, j]) ** 2 for place in window if place != (i, j)}
            scale = max(0.6 * np.var([y[place] for place in window]), -min(apart.values()) / np.log(0.01), 2e-6)
            weights = {place: np.exp(-square / scale) for place, square in apart.items()}
            mean = sum(weight * result[place] for place, weight in weights.items()) / sum(weights.values())
            assert result[i, j] == pytest.approx(mean, abs=1e-5)


def test_optimization_of_next_to_nothing():
    one = np.ones((1, 1, 1), np.float32)
    assert Optimization()(one, 0.3 * one, one[0]) == pytest.approx(0.3)
    assert not Optimization()(*halves()[:2], np.zeros((12, 17), np.float32)).any()


@pytest.mark.slow  # compiles for a minute
@pytest.mark.skipif(not find_spec("pymatting"), reason="PyMatting is not installed")
def test_closed_form_finds_an_edge():
    image = np.full((3, 24, 32), 0.2, np.float32)
    image[:, :, 16:] = 0.9
    confidence = np.ones((24, 32), np.float32)
    confidence[:, 8:24] = 0
    values = np.zeros((1, 24, 32), np.float32)
    values[:, :, 24:] = 1
    alpha = make("closed_form", values=True)(image, values, confidence)
    assert alpha.shape == (1, 24, 32)
    assert alpha[0, :, :15].max() < 0.1
    assert alpha[0, :, 17:].min() > 0.9
    with pytest.raises(ValueError, match=r"take baselines=\[optimization\]"):
        make("closed_form", values=True)(image[:1], values, confidence)


def test_each_task_has_its_own():
    assert baselines.installed(values=True) in ([], ["closed_form"])
    assert list(make_all(["optimization"], values=True)) == ["optimization"]
    with pytest.raises(ValueError, match="choose from closed_form, knn, lkm, optimization"):
        make("densecrf", values=True)
    with pytest.raises(ValueError, match="choose from densecrf, guided_filter"):
        make("optimization")
    with pytest.raises(ValueError, match="sharpness must be more than 0"):
        make("optimization", {"sharpness": 0}, values=True)
