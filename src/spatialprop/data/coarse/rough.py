"""Rough masks made from the truth, to train a refiner that takes masks from any source."""

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.coarse.simulate import bend
from spatialprop.data.label_set import VOID

TRUE = 0.3  # share of rough masks with exact borders: a refiner must also learn to leave a correct mask alone


class RoughTruth:
    """Replace the coarse maps of some patches by rough masks made from the truth.

    The coarse maps of a few segmenters are all alike: cells of one size, uncertain in a band of one width. Here borders
    are displaced by a random amount. Then half of the maps are averaged over cells of a random size, as a segmenter of
    that stride would; the others stay label maps and are blurred.

    Args:
        share: Share of the patches whose map is replaced.
        cells: Largest side of a cell in pixels. Borders move by typically 0.4 of a side at most, and labels are blurred
            by a Gaussian of a quarter of it, at least 2 pixels.

    Example:
        >>> coarse = np.full((2, 8, 8), [[[0.4]], [[0.6]]], np.float32)
        >>> rough = RoughTruth(share=1)(coarse, np.zeros((8, 8), np.uint8), np.random.default_rng(0))
        >>> bool(rough.argmax(axis=0).any())
        False
    """

    def __init__(self, share: float = 0.3, cells: float = 24.0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1; got {share}")
        if not 4 <= cells < np.inf:
            raise ValueError(f"cells must be a number of pixels, at least 4; got {cells}")
        self.share = share
        self.cells = cells

    def __call__(
        self, coarse: NDArray[np.float32], label: NDArray[np.uint8], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Probabilities in place of `coarse`, both (K, h, w), for a patch whose truth is `label` (h, w)."""
        if rng.random() >= self.share:
            return coarse
        # Where the truth is void, the segmenter's most likely class stands in.
        labels = np.where(label == VOID, coarse.argmax(axis=0), label).astype(np.uint8)
        cell = float(np.exp(rng.uniform(np.log(4), np.log(self.cells))))
        if rng.random() >= TRUE:
            shift, period = cell * rng.uniform(0, 0.4), cell * rng.uniform(1, 3)
            down, across = (max(2, round(side / period) + 1) for side in labels.shape)
            labels = bend(labels, shift, (down, across), rng)
        certain = (labels == np.arange(len(coarse))[:, None, None]).astype(np.float32)
        if rng.random() < 0.5:
            return softened(certain, max(cell / 4, 2.0))
        doubt = np.float32(rng.uniform(0, 0.2))
        return np.asarray((1 - doubt) * _in_cells(certain, cell) + doubt / len(coarse), np.float32)


def softened(certain: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    """The mean of one-hot labels and their Gaussian blur, as the refiner treats label maps. (K, h, w)"""
    side = 2 * max(1, round(2.5 * deviation)) + 1
    blurred = [cv2.GaussianBlur(one, (side, side), deviation, borderType=cv2.BORDER_REPLICATE) for one in certain]
    return np.asarray((certain + np.stack(blurred)) / 2, np.float32)


def _in_cells(certain: NDArray[np.float32], cell: float) -> NDArray[np.float32]:
    height, width = certain.shape[1:]
    cells = (max(1, round(width / cell)), max(1, round(height / cell)))
    means = [cv2.resize(one, cells, interpolation=cv2.INTER_AREA) for one in certain]
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in means])
