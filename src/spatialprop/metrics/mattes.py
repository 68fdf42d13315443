"""Errors of mattes, as the alpha-matting benchmark defines them, within the unknown region."""

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

Map = NDArray[np.float64]

_DEVIATION = 1.4  # of the Gaussian whose derivatives give gradients
_STEP = 0.1  # between the thresholds at which connectivity is looked at
_TOLERATED = 0.15  # distance from connectedness that does not count


class MatteErrors(Metric):
    """SAD, MSE, gradient and connectivity error, each a mean over images, in the units that the benchmark prints.

    SAD, gradient and connectivity error are sums over the unknown pixels of an image in thousands, MSE is the mean over
    them (Rhemann et al., 2009). Gradients are those of Gaussian derivatives of deviation 1.4; connectivity takes
    thresholds 0.1 apart and lets 0.15 pass.

    Example:
        >>> errors, half = MatteErrors(), torch.full((1, 1, 8, 8), 0.5)
        >>> errors.update(half, half + 0.25, torch.zeros(1, 1, 8, 8))
        >>> round(errors.compute()["SAD"], 3), errors.compute()["MSE"]
        (0.016, 0.0625)
    """

    full_state_update = False
    higher_is_better = False
    main = "SAD"
    sums: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(4, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, result: Tensor, truth: Tensor, confidence: Tensor, *_: Any) -> None:
        """Add alphas (N, 1, H, W); those count whose confidence (N, 1, H, W) is below 1."""
        for pred, target, known in zip(result, truth, confidence, strict=True):
            alpha, true = (one[0].detach().double().cpu().numpy() for one in (pred, target))
            unknown = known[0].cpu().numpy() < 1
            if unknown.any():
                found = matte_errors(alpha, true, unknown)
                self.sums += torch.tensor(found, dtype=torch.float64, device=self.sums.device)
            self.images += 1

    def compute(self) -> dict[str, Any]:
        """The means; None without images."""
        count = int(self.images)
        names = ("SAD", "MSE", "gradient_error", "connectivity_error")
        return {name: float(total) / count if count else None for name, total in zip(names, self.sums, strict=True)}


def matte_errors(alpha: Map, truth: Map, unknown: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """SAD, MSE, gradient and connectivity error of one alpha (H, W), as `MatteErrors` has them."""
    difference = (alpha - truth)[unknown]
    return (
        float(np.abs(difference).sum()) / 1000,
        float(np.square(difference).mean()),
        float(np.square(_gradient(alpha) - _gradient(truth))[unknown].sum()) / 1000,
        float(np.abs(_connected(alpha, truth))[unknown].sum()) / 1000,
    )


def _gradient(alpha: Map) -> Map:
    """The amplitude of the gradient by derivatives of a Gaussian, filters of length 1 as the benchmark has them."""
    reach = int(np.ceil(_DEVIATION * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * _DEVIATION * 1e-2))))
    places = np.arange(-reach, reach + 1)
    bell = np.exp(-np.square(places) / (2 * _DEVIATION**2)) / (_DEVIATION * np.sqrt(2 * np.pi))
    slope = -places * bell / _DEVIATION**2
    kernel = np.outer(bell, slope)
    kernel /= np.linalg.norm(kernel)
    across, down = (
        cv2.filter2D(alpha, cv2.CV_64F, np.ascontiguousarray(one), borderType=cv2.BORDER_REPLICATE)
        for one in (kernel, kernel.T)
    )
    return np.asarray(np.hypot(across, down))


def _connected(alpha: Map, truth: Map) -> Map:
    """How much further from the common solid region one alpha lies than the other, at each pixel."""
    reached = np.full(alpha.shape, -1.0)
    # The last threshold is 1 less rounding, so that solid pixels stay solid.
    for threshold in np.arange(1, round(1 / _STEP) + 1) * _STEP:
        both = ((alpha >= threshold - 1e-9) & (truth >= threshold - 1e-9)).astype(np.uint8)
        _, places, stats, _ = cv2.connectedComponentsWithStats(both, connectivity=4)
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if len(stats) > 1 else -1
        reached[(reached < 0) & (places != largest)] = threshold - _STEP
    reached[reached < 0] = 1
    apart = [np.where(one - reached >= _TOLERATED, one - reached, 0) for one in (alpha, truth)]
    return np.asarray(apart[1] - apart[0])
