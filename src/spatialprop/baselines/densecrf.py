"""DenseCRF (Kraehenbuehl and Koltun, 2011), by pydensecrf2."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import needs_extra


class DenseCRF:
    """Mean-field inference in a fully connected CRF over position and colour.

    Only classes that are somewhere the most likely one take part, which changes little and saves most of the time. A
    kernel of weight 0 is left out; without both, the most likely classes come out as they are.

    Args:
        smooth_weight, smooth_reach: Weight of the position kernel, and its deviation in pixels.
        colour_weight, colour_reach, colour_deviation: Weight of the appearance kernel, its deviation in pixels, and in
            colour values.
        iterations: Mean-field steps.
    """

    def __init__(
        self,
        smooth_weight: float = 3,
        smooth_reach: float = 3,
        colour_weight: float = 4,
        colour_reach: float = 67,
        colour_deviation: float = 3,
        iterations: int = 10,
    ) -> None:
        with needs_extra("the baseline densecrf needs pydensecrf2", "densecrf"):
            from pydensecrf import densecrf
        for name, weight in (("smooth_weight", smooth_weight), ("colour_weight", colour_weight)):
            if not weight >= 0:
                raise ValueError(f"densecrf: {name} must be at least 0; got {weight}")
        for name, size in (
            ("smooth_reach", smooth_reach),
            ("colour_reach", colour_reach),
            ("colour_deviation", colour_deviation),
            ("iterations", iterations),
        ):
            if not size > 0:
                raise ValueError(f"densecrf: {name} must be more than 0; got {size}")
        self._densecrf = densecrf
        self.smooth = (smooth_weight, smooth_reach)
        self.colour = (colour_weight, colour_reach, colour_deviation)
        self.iterations = iterations

    def __call__(self, image: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """Labels (H, W) for `image` (H, W, 3) and `probabilities` (K, H, W)."""
        height, width = image.shape[:2]
        present = np.unique(probabilities.argmax(axis=0))
        smooth_weight, smooth_reach = self.smooth
        colour_weight, colour_reach, colour_deviation = self.colour
        if len(present) == 1 or not (smooth_weight or colour_weight):
            return np.asarray(probabilities.argmax(axis=0))
        unary = -np.log(np.clip(probabilities[present], 1e-5, 1)).reshape(len(present), -1)
        crf = self._densecrf.DenseCRF2D(width, height, len(present))
        crf.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
        if smooth_weight:
            crf.addPairwiseGaussian(sxy=smooth_reach, compat=smooth_weight)
        if colour_weight:
            crf.addPairwiseBilateral(
                sxy=colour_reach, srgb=colour_deviation, rgbim=np.ascontiguousarray(image), compat=colour_weight
            )
        marginals = np.asarray(crf.inference(self.iterations)).reshape(len(present), height, width)
        return np.asarray(present[marginals.argmax(axis=0)])
