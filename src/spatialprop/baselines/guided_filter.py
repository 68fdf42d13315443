"""The guided filter (He et al., 2010) on class probabilities."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


class GuidedFilter:
    """Make the probabilities of each class a locally linear function of the image's brightness.

    Args:
        radius: Half the side of the windows, in pixels.
        smoothness: Variance of brightness (0 to 1) below which a window counts as flat.
    """

    def __init__(self, radius: int = 8, smoothness: float = 1e-3) -> None:
        if not (isinstance(radius, int) and radius >= 1 and smoothness > 0):
            raise ValueError(
                f"guided_filter: radius must be a whole number of at least 1 and smoothness more than 0; "
                f"got {radius} and {smoothness}"
            )
        self.radius = radius
        self.smoothness = smoothness

    def __call__(self, image: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """Labels (H, W) for `image` (H, W, 3) and `probabilities` (K, H, W)."""
        side = 2 * self.radius + 1

        def mean(values: NDArray[Any]) -> NDArray[Any]:
            return cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)

        guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        guide_mean = mean(guide)
        variance = mean(guide * guide) - guide_mean**2
        filtered = np.empty_like(probabilities)
        for index, shares in enumerate(probabilities):
            shares_mean = mean(shares)
            slope = (mean(guide * shares) - guide_mean * shares_mean) / (variance + self.smoothness)
            filtered[index] = mean(slope) * guide + mean(shares_mean - slope * guide_mean)
        return np.asarray(filtered.argmax(axis=0))
