"""The choice of the part of an image that becomes a training sample."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.label_set import VOID


class Window(NamedTuple):
    """A part of an image, in its pixels; it may reach beyond the image's end where the image is too small."""

    top: int
    left: int
    height: int
    width: int


class Patches(Protocol):
    """Chooses windows, and the size that they are brought to; None where an image has no window to give."""

    def choose(self, label: NDArray[np.uint8], rng: np.random.Generator) -> Window | None: ...

    def output_size(self, window: Window) -> tuple[int, int]: ...


class SquarePatches:
    """Square windows of `size` pixels, taken `scale` times larger or smaller and brought to that size.

    Args:
        size: Side of a patch.
        scale: Smallest and largest magnification, drawn evenly in the logarithm.
        multi_label: Take only windows that hold more than one label, as the paper does; VOID is no label, or every
            outlined object would qualify.
        skip_uniform: Take none from an image that has no such window, as in the paper; otherwise it gives any.

    Example:
        >>> label = np.zeros((64, 64), np.uint8)
        >>> label[60:, 60:] = 1
        >>> SquarePatches(16, multi_label=True).choose(label, np.random.default_rng(0)).top > 44
        True
    """

    def __init__(
        self,
        size: int = 128,
        scale: Sequence[float] = (1.0, 1.0),
        multi_label: bool = False,
        skip_uniform: bool = False,
    ) -> None:
        smallest, largest = scale
        if size < 1:
            raise ValueError(f"patches.size must be at least 1 pixel; got {size}")
        if not 0 < smallest <= largest:
            raise ValueError(f"patches.scale must be two magnifications, 0 < smallest <= largest; got {list(scale)}")
        if skip_uniform and not multi_label:
            raise ValueError(
                "patches.skip_uniform=true skips images without patches of several labels: set multi_label=true"
            )
        self.size = size
        self.scale = (float(smallest), float(largest))
        self.multi_label = multi_label
        self.skip_uniform = skip_uniform

    def choose(self, label: NDArray[np.uint8], rng: np.random.Generator) -> Window | None:
        magnification = np.exp(rng.uniform(*np.log(self.scale)))
        side = max(1, round(self.size / magnification))
        if self.multi_label:
            valid = multi_label_positions(label, side)
            positions = np.flatnonzero(valid)
            if len(positions):
                top, left = divmod(int(rng.choice(positions)), valid.shape[1])
                return Window(top, left, side, side)
            if self.skip_uniform:
                return None
        height, width = label.shape
        top, left = rng.integers(max(1, height - side + 1)), rng.integers(max(1, width - side + 1))
        return Window(int(top), int(left), side, side)

    def output_size(self, window: Window) -> tuple[int, int]:
        return self.size, self.size


class WholeImages:
    """The whole image, as it is."""

    def choose(self, label: NDArray[np.uint8], rng: np.random.Generator) -> Window:
        return Window(0, 0, *label.shape)

    def output_size(self, window: Window) -> tuple[int, int]:
        return window.height, window.width


def multi_label_positions(label: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """Where a square window may have its top left corner so that it holds more than one label. (H', W')

    With all positions known, no draw is rejected; the cost does not depend on the number of classes.
    """
    size = min(side, label.shape[0]), min(side, label.shape[1])
    lowest = _over_windows(np.minimum, label, size)  # VOID is above every class
    highest = _over_windows(np.maximum, np.where(label == VOID, np.uint8(0), label), size)
    return lowest < highest


def _over_windows(
    extreme: Callable[..., NDArray[np.uint8]], values: NDArray[np.uint8], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """The minimum or maximum over each window of `size` (h, w). (H - h + 1, W - w + 1)"""
    for axis, length in enumerate(size):
        values = np.moveaxis(values, axis, 0)
        covered = 1
        while covered < length:  # two windows side by side make one of twice the length
            step = min(covered, length - covered)
            values = extreme(values[:-step], values[step:])
            covered += step
        values = np.moveaxis(values, 0, axis)
    return values
