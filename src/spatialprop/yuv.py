"""Colours as brightness and two differences from it.

YUV and not Lab: it is linear, so an average of known colours is what light of both would be, its way back to RGB is
exact, and the method that we compare with works in it too.
"""

import numpy as np
from numpy.typing import NDArray

_RED, _BLUE = 0.299, 0.114  # shares of brightness, by BT.601
_U, _V = 0.5 / (1 - _BLUE), 0.5 / (1 - _RED)  # so that both go from -0.5 to 0.5

Floats = NDArray[np.float32]


def split_colours(rgb: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Brightness (H, W) from 0 to 1 and two differences of colour (2, H, W) from -0.5 to 0.5, of (H, W, 3).

    Example:
        >>> brightness, colours = split_colours(np.array([[[255, 0, 0]]], np.uint8))
        >>> join_colours(brightness, colours).tolist()
        [[[255, 0, 0]]]
    """
    red, green, blue = np.moveaxis(rgb.astype(np.float32) / np.float32(255), -1, 0)
    brightness = _RED * red + (1 - _RED - _BLUE) * green + _BLUE * blue
    return brightness, np.stack([_U * (blue - brightness), _V * (red - brightness)]).astype(np.float32)


def join_colours(brightness: Floats, colours: Floats) -> NDArray[np.uint8]:
    """The picture (H, W, 3) of a brightness (H, W) and its colours (2, H, W)."""
    blue, red = brightness + colours[0] / _U, brightness + colours[1] / _V
    green = (brightness - _RED * red - _BLUE * blue) / (1 - _RED - _BLUE)
    pixels = np.stack([red, green, blue], axis=-1)
    return np.asarray(np.clip(np.rint(pixels * 255), 0, 255), np.uint8)
