"""Errors of mattes against the definitions written out, and scores of colours."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage

from spatialprop.metrics import ColourScores, MatteErrors, ValueErrors, matte_errors

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")  # of no images


def two_alphas(seed=0, size=(23, 31)):
    rng = np.random.default_rng(seed)
    truth = np.clip(ndimage.gaussian_filter(rng.normal(0.5, 3, size), 2), 0, 1)
    alpha = np.clip(truth + rng.normal(0, 0.2, size), 0, 1)
    return alpha, truth, rng.random(size) < 0.6


def gradient(alpha):
    """Derivatives of a Gaussian of deviation 1.4, as the benchmark's code builds them."""
    reach = int(np.ceil(1.4 * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * 1.4 * 0.01))))
    u = np.arange(-reach, reach + 1)
    bell = np.exp(-(u**2) / (2 * 1.4**2)) / (1.4 * np.sqrt(2 * np.pi))
    kernel = bell[:, None] * (-u * bell / 1.4**2)
    kernel /= np.sqrt((np.abs(kernel) ** 2).sum())
    return np.hypot(*(ndimage.convolve(alpha, one, mode="nearest") for one in (kernel, kernel.T)))


def connectivity(alpha, truth, unknown):
    level = -np.ones_like(alpha)
    steps = np.arange(0, 1.01, 0.1)
    for before, step in pairwise(steps):
        both = (alpha >= step) & (truth >= step)
        labels, count = ndimage.label(both)
        omega = (
            labels == 1 + np.argmax([(labels == one).sum() for one in range(1, count + 1)]) if count else both & False
        )
        level[(level == -1) & ~omega] = before
    level[level == -1] = 1
    phi = [1 - (one - level) * (one - level >= 0.15) for one in (alpha, truth)]
    return np.abs(phi[0] - phi[1])[unknown].sum()


@pytest.mark.parametrize("seed", range(3))
def test_errors_are_the_benchmark_s(seed):
    alpha, truth, unknown = two_alphas(seed)
    sad, mse, gradient_error, connectivity_error = matte_errors(alpha, truth, unknown)
    assert sad == pytest.approx(np.abs(alpha - truth)[unknown].sum() / 1000)
    assert mse == pytest.approx(((alpha - truth) ** 2)[unknown].mean())
    assert gradient_error == pytest.approx(((gradient(alpha) - gradient(truth)) ** 2)[unknown].sum() / 1000)
    assert connectivity_error == pytest.approx(connectivity(alpha, truth, unknown) / 1000)


def test_the_truth_has_no_error():
    _, truth, unknown = two_alphas()
    assert matte_errors(truth, truth, unknown) == (0, 0, 0, 0)


def test_connectivity_counts_what_floats_in_the_air():
    truth = np.zeros((20, 20))
    truth[:, :8] = 1
    apart, touching = truth.copy(), truth.copy()
    apart[8:12, 14:18], touching[8:12, 8:12] = 0.5, 0.5
    everywhere = np.ones_like(truth, bool)
    assert matte_errors(apart, truth, everywhere)[0] == matte_errors(touching, truth, everywhere)[0]
    assert matte_errors(apart, truth, everywhere)[3] > 0


def test_only_unknown_pixels_count_and_images_are_averaged():
    errors = MatteErrors()
    result, truth = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    confidence = (torch.rand(2, 1, 16, 16) < 0.5).float()
    errors.update(result, truth, confidence)
    unknown = confidence < 1
    expected = ((result - truth).abs() * unknown).sum() / 1000 / 2
    assert errors.compute()["SAD"] == pytest.approx(expected.item(), rel=1e-5)
    assert MatteErrors().compute()["SAD"] is None
    nothing = MatteErrors()
    nothing.update(result, truth, torch.ones_like(confidence))
    assert nothing.compute() == {"SAD": 0, "MSE": 0, "gradient_error": 0, "connectivity_error": 0}


def test_colours_are_scored_as_the_picture_that_they_make():
    grey, truth = torch.rand(1, 1, 24, 24) * 0.2 + 0.4, torch.zeros(2, 24, 24)[None]
    result = truth + 0.05
    scores = ColourScores()
    scores.update(result, truth, torch.zeros(1, 1, 24, 24), grey, ["30"])
    scores.update(truth, truth + 0.1, torch.zeros(1, 1, 24, 24), grey, ["100"])
    found = scores.compute()
    red, blue = 0.05 / (0.5 / 0.701), 0.05 / (0.5 / 0.886)
    green = -(0.299 * red + 0.114 * blue) / 0.587
    mse = np.mean(np.square([red, green, blue]))
    assert found["PSNR_by_group"]["30"] == pytest.approx(-10 * np.log10(mse), abs=0.1)
    assert found["PSNR"] == pytest.approx(np.mean(list(found["PSNR_by_group"].values())), abs=1e-4)
    assert 0 < found["SSIM"] < 1
    assert ColourScores().compute() == {"PSNR": None, "SSIM": None}


def test_values_count_pixel_by_pixel():
    errors = ValueErrors()
    confidence = torch.zeros(1, 1, 2, 2)
    confidence[..., 0] = 1
    errors.update(torch.tensor([[[[9.0, 1.0], [9.0, 3.0]]]]), torch.zeros(1, 1, 2, 2), confidence)
    assert errors.compute() == {"MAE": 2.0, "RMSE": pytest.approx(5**0.5)}
    assert ValueErrors().compute() == {"MAE": None, "RMSE": None}
