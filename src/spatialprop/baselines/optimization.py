"""Colorization using optimization (Levin et al., 2004), written from its equation; it spreads any values."""

import itertools

import numpy as np
from numpy.typing import NDArray

_LEAST_VARIANCE = 2e-6  # of brightness from 0 to 1
_SHARPEST = np.log(0.01)  # the most alike neighbour keeps at least this logarithm of a weight


class Optimization:
    """Every unknown pixel is the average of its eight neighbours, weighted by how alike they are in brightness.

    A neighbour's weight is exp(-(difference of brightness)^2 / s), s being 0.6 of the variance of brightness in the
    3 x 3 window, or as much as the most alike neighbour needs for a hundredth; weights sum to one. Known values stay.
    One sparse linear system gives them all.

    Args:
        sharpness: Share of the variance that counts as alike, 0.6 in the authors' code.
    """

    def __init__(self, sharpness: float = 0.6) -> None:
        if not sharpness > 0:
            raise ValueError(f"optimization: sharpness must be more than 0; got {sharpness}")
        self.sharpness = sharpness

    def __call__(
        self, image: NDArray[np.float32], values: NDArray[np.float32], confidence: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Dense values (C, H, W) for `image` (I, H, W), `values` (C, H, W) and `confidence` (H, W)."""
        from scipy.sparse import csc_matrix
        from scipy.sparse.linalg import splu

        known = confidence.reshape(-1) > 0
        if not known.any():
            return np.zeros_like(values)
        height, width = confidence.shape
        brightness = image[0] if len(image) == 1 else np.tensordot((0.299, 0.587, 0.114), image, axes=1)
        listening, source, weight = self._weights(brightness.astype(np.float64))
        kept = ~known[listening]
        places = np.arange(height * width)
        rows = np.concatenate([places, listening[kept]])
        columns = np.concatenate([places, source[kept]])
        entries = np.concatenate([np.ones(len(places)), -weight[kept]])
        system = csc_matrix((entries, (rows, columns)), shape=(len(places), len(places)))
        wanted = np.where(known, values.reshape(len(values), -1), 0).astype(np.float64)
        return np.asarray(splu(system).solve(wanted.T).T.reshape(values.shape), np.float32)

    def _weights(
        self, brightness: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Pairs of pixels, the one that listens first, and the weight of the other."""
        height, width = brightness.shape
        index = np.arange(height * width).reshape(height, width)
        framed, places = np.pad(brightness, 1, constant_values=np.nan), np.pad(index, 1, constant_values=-1)
        shifts = [shift for shift in itertools.product(range(3), repeat=2) if shift != (1, 1)]
        near = np.stack([framed[i : i + height, j : j + width] for i, j in shifts])  # (8, H, W)
        there = np.stack([places[i : i + height, j : j + width] for i, j in shifts])
        apart = np.square(near - brightness)
        window = np.concatenate([near, brightness[None]])
        variance = np.nanvar(window, axis=0) if brightness.size > 1 else np.zeros_like(brightness)
        nearest = np.nanmin(apart, axis=0) if brightness.size > 1 else np.zeros_like(brightness)
        scale = np.maximum(np.maximum(self.sharpness * variance, -nearest / _SHARPEST), _LEAST_VARIANCE)
        weight = np.where(there >= 0, np.exp(-apart / scale), 0)
        weight = weight / np.maximum(weight.sum(axis=0), np.finfo(float).tiny)
        inside = there >= 0
        return np.broadcast_to(index, there.shape)[inside], there[inside], weight[inside]
