"""The colours of a foreground whose alpha is known."""

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]
_REACHES = (90, 6)  # pixels; coarse first, then fine
_LEAST = 1e-5


def estimate_foreground(image: NDArray[np.uint8], alpha: NDArray[np.floating]) -> NDArray[np.uint8]:
    """What an image (H, W, 3) would show at each pixel if nothing shone through, given alpha (H, W). (H, W, 3)

    By blur fusion (Forte, 2021): means of the foreground and of the background around each pixel, weighted by alpha,
    and what is left of the image's colour added by alpha; once with wide means and once with narrow ones.

    Example:
        >>> image, alpha = np.full((4, 4, 3), 100, np.uint8), np.ones((4, 4))
        >>> bool((estimate_foreground(image, alpha) == image).all())
        True
    """
    seen, share = image.astype(np.float64) / 255, np.asarray(alpha, np.float64)[..., None]
    foreground = background = seen
    for reach in _REACHES:
        weight = _mean(share, reach)
        fore = _mean(foreground * share, reach) / (weight + _LEAST)
        back = _mean(background * (1 - share), reach) / (1 - weight + _LEAST)
        foreground = np.clip(fore + share * (seen - share * fore - (1 - share) * back), 0, 1)
        background = back
    return np.asarray(np.rint(foreground * 255), np.uint8)


def _mean(values: Map, reach: int) -> Map:
    """The mean over a square of `reach` pixels to each side, of what lies inside the image. (H, W, C)"""
    for axis in (0, 1):
        length = values.shape[axis]
        sums = np.concatenate([np.zeros_like(values.take([0], axis)), np.cumsum(values, axis=axis)], axis=axis)
        last, first = np.minimum(np.arange(length) + reach + 1, length), np.maximum(np.arange(length) - reach, 0)
        counts = (last - first).reshape([-1 if one == axis else 1 for one in range(3)])
        values = (sums.take(last, axis) - sums.take(first, axis)) / counts
    return values
