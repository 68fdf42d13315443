"""How files hold numbers, so that a refined map can be written as the coarse one was."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.drawing import class_colours


@dataclass(frozen=True)
class PictureLayout:
    """How a picture holds its pixels.

    Attributes:
        mode: Pillow's mode.
        palette: Colours of a palette file, as bytes.
        transparency: What of a palette is transparent, as Pillow has it.
        beneath: What lies beneath an alpha channel, colours (H, W, 3) or grey (H, W).
    """

    mode: str
    palette: bytes | None = None
    transparency: bytes | int | None = None
    beneath: NDArray[np.uint8] | None = field(default=None, repr=False)
    key: ClassVar[None] = None

    @property
    def deep(self) -> bool:
        """Whether a pixel has 16 bits."""
        return self.mode.startswith("I")

    def draw(self, values: NDArray[Any], suffix: str) -> Image.Image:
        """A picture of the same sort, of numbers (H, W), shares from 0 to 1 (H, W), or colours (H, W, 3)."""
        if values.dtype.kind == "f":
            values = np.rint(values * (65535 if self.deep else 255)).astype(np.uint16 if self.deep else np.uint8)
        if self.beneath is not None and suffix != ".bmp":
            picture = Image.fromarray(self.beneath)
            picture.putalpha(Image.fromarray(values))
            return picture
        if suffix == ".webp":
            return _in_channels(values)
        if self.mode == "1":
            return Image.fromarray(values).convert("1")
        if self.mode == "P":
            return _with_palette(values, self.palette or class_colours().tobytes(), self.transparency)
        return Image.fromarray(values)

    def store(self, values: NDArray[Any]) -> NDArray[Any]:
        return values


@dataclass(frozen=True)
class ArrayLayout:
    """How an array holds its numbers.

    Attributes:
        dtype: Their type.
        key: Its name in an .npz, None if it had none.
        single: Whether it came as (1, H, W).
    """

    dtype: np.dtype[Any]
    key: str | None = None
    single: bool = False
    deep: ClassVar[bool] = False

    def draw(self, values: NDArray[Any], suffix: str) -> Image.Image:
        """A grey picture of numbers or of shares from 0 to 1. (H, W)"""
        values = as_grey(values)
        return _in_channels(values) if suffix == ".webp" else Image.fromarray(values)

    def store(self, values: NDArray[Any]) -> NDArray[Any]:
        """The numbers in the type and shape that the array had."""
        if self.dtype == np.uint8 and values.dtype.kind == "f":
            values = np.rint(values * 255)
        values = values.astype(self.dtype)
        return values[None] if self.single else values


def as_grey(values: NDArray[Any]) -> NDArray[Any]:
    """Shares as bytes, and integers in as few bits as hold them."""
    if values.dtype.kind == "f":
        return np.asarray(np.rint(values * 255), np.uint8)
    if values.dtype == np.uint8:
        return values
    return values.astype(np.uint8 if int(values.max()) < 256 else np.uint16)


def _in_channels(values: NDArray[Any]) -> Image.Image:
    """A picture for a format that has no grey."""
    return Image.fromarray(values if values.ndim == 3 else values[..., None].repeat(3, axis=2))


def _with_palette(indices: NDArray[np.uint8], palette: bytes, transparency: bytes | int | None = None) -> Image.Image:
    picture = Image.fromarray(indices)
    # Whole: Pillow would write no more bits than a shorter one needs, and cut what is above.
    picture.putpalette(palette[:768].ljust(768, b"\0"))
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture
