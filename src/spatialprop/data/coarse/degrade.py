"""Random errors in the coarse maps of training images, like those on images that the segmenter has not seen."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Sizes of errors in cells of the coarse map: segmenters err in spots and in whole regions.
ERROR_CELLS = (2, 5)
SHIFT_CELLS = 3


class DegradeCoarse:
    """Worsen a coarse map at random, differently each time it is seen.

    A segmenter makes fewer errors on its own training images than on others, and a refinement trained on such maps
    learns to change too little. Each time, the map becomes more or less certain, smooth noise favours other classes in
    some regions, and borders move.

    Args:
        doubt: The map is raised to a power between 1 - doubt and 1 + 0.3 doubt.
        errors: Largest typical size of smooth noise on the logarithm of the probabilities.
        shift: Typical distance that borders move, in cells of the coarse map.
        share: Share of the maps that are worsened; the others stay as they are.

    Example:
        >>> coarse = np.full((2, 6, 6), [[[255]], [[0]]], np.uint8)
        >>> DegradeCoarse(doubt=0, errors=0, shift=0)(coarse, np.random.default_rng(0))[:, 0, 0]
        array([255,   0], dtype=uint8)
    """

    def __init__(self, doubt: float = 0.4, errors: float = 1.0, shift: float = 0.5, share: float = 1.0) -> None:
        if not 0 <= doubt < 1:
            raise ValueError(f"doubt must be from 0 to less than 1; got {doubt}")
        if errors < 0 or shift < 0:
            raise ValueError(f"errors and shift must be 0 or more; got errors = {errors}, shift = {shift}")
        if not 0 <= share <= 1:
            raise ValueError(f"share must be from 0 to 1; got {share}")
        self.doubt = doubt
        self.errors = errors
        self.shift = shift
        self.share = share

    def __call__(self, coarse: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """A worse map of probabilities x 255. (K, h, w)"""
        if rng.random() >= self.share:
            return coarse
        size = coarse.shape[1:]
        shares = coarse.astype(np.float32) / 255
        if self.doubt:
            shares = np.maximum(shares, 1e-4) ** np.float32(rng.uniform(1 - self.doubt, 1 + 0.3 * self.doubt))
        if self.errors:
            size_of_errors = rng.uniform(0, self.errors)
            noise = sum(_smooth(rng, len(shares), size, cells) for cells in ERROR_CELLS)
            # At least 0.002: no noise could raise a probability of zero.
            shares = np.maximum(shares, 2e-3) * np.exp(np.float32(size_of_errors) * noise)
        if self.shift:
            across, down = np.float32(self.shift) * _smooth(rng, 2, size, SHIFT_CELLS)
            rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
            moved = [
                cv2.remap(of_class, columns + across, rows + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                for of_class in shares
            ]
            shares = np.stack(moved)
        shares = shares / np.maximum(shares.sum(axis=0), 1e-6)
        return np.asarray(np.rint(shares * 255), np.uint8)


def _smooth(rng: np.random.Generator, maps: int, size: tuple[int, ...], cells: int) -> NDArray[np.float32]:
    """Standard normal noise with one value every `cells` cells, smooth in between. (maps, h, w)"""
    rough = rng.normal(size=(maps, max(2, -(-size[0] // cells)), max(2, -(-size[1] // cells)))).astype(np.float32)
    return np.stack([cv2.resize(of_map, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for of_map in rough])
