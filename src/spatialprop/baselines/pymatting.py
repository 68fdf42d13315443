"""Matting by PyMatting: closed form (Levin et al., 2008), KNN (Chen et al., 2013), large kernels (He et al., 2010)."""

import warnings

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import needs_extra


class PyMatting:
    """An alpha by one of PyMatting's methods, with its own settings.

    Args:
        method: "cf", "knn" or "lkm".
    """

    def __init__(self, method: str) -> None:
        with needs_extra("the baselines closed_form, knn and lkm need PyMatting", "matting"):
            import pymatting
        self._estimate = getattr(pymatting, f"estimate_alpha_{method}")

    def __call__(
        self, image: NDArray[np.float32], values: NDArray[np.float32], confidence: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Alpha (1, H, W) for `image` (3, H, W), known alphas (1, H, W) and `confidence` (H, W)."""
        if len(image) != 3 or len(values) != 1:
            raise ValueError(
                f"PyMatting makes mattes of RGB images; got {len(image)} channels and {len(values)} value(s) a pixel: "
                f"for other values take baselines=[optimization]"
            )
        trimap = np.where(confidence > 0, values[0], 0.5).astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a trimap without one side, on which it goes on
            alpha = self._estimate(np.ascontiguousarray(image.transpose(1, 2, 0), np.float64), trimap)
        return np.asarray(alpha, np.float32)[None]
