"""The five kinds of coarse maps in files: each knows its labels and colours, and how to write a refined map back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.drawing import class_colours
from spatialprop.errors import InputError
from spatialprop.maskfiles.arrays import ARRAY_SUFFIXES, write_arrays
from spatialprop.maskfiles.palette import Palette
from spatialprop.maskfiles.pictures import PICTURE_SUFFIXES, write_picture

RESULT_SUFFIXES = (*PICTURE_SUFFIXES, *ARRAY_SUFFIXES)
_WIDEST_WEBP = 16383


class Refined(Protocol):
    """What the refiner makes of a coarse map's `values`."""

    @property
    def labels(self) -> NDArray[Any]:
        """Labels, or indices of the maps of probabilities. (H, W)"""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Probabilities of all classes. (K, H, W)"""

    @property
    def present(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The labels that may come out (k,), and their probabilities alone (k, H, W)."""


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
        values = _as_grey(values)
        return _in_channels(values) if suffix == ".webp" else Image.fromarray(values)

    def store(self, values: NDArray[Any]) -> NDArray[Any]:
        """The numbers in the type and shape that the array had."""
        if self.dtype == np.uint8 and values.dtype.kind == "f":
            values = np.rint(values * 255)
        values = values.astype(self.dtype)
        return values[None] if self.single else values


@dataclass(frozen=True)
class CoarseFile:
    """What a file holds, and how a refined map is written in the same way.

    Attributes:
        values: What the refiner takes: labels (H, W) or probabilities (K, h, w).
        layout: How the file holds them.
        kind: What this sort of file is called.
    """

    values: NDArray[Any]
    layout: PictureLayout | ArrayLayout
    kind: ClassVar[str]
    _key: ClassVar[str] = "labels"  # of an array that had no name

    def labels(self, size: tuple[int, ...]) -> NDArray[Any]:
        """The labels before refinement, at the image's size. (H, W)"""
        return self.values

    def labels_of(self, refined: Refined, path: Path) -> NDArray[Any]:
        """The labels after refinement, those that a result at `path` has. (H, W)"""
        return refined.labels

    def colours(self) -> NDArray[np.uint8]:
        """The colours that classes have in pictures. (K, 3)"""
        return class_colours()

    def codes_of(self, labels: NDArray[Any]) -> NDArray[Any]:
        """What the file writes for labels."""
        return labels

    def refining(self, restrict: bool, classes: int | None) -> dict[str, Any]:
        """Options of the refiner that suit the kind, given those that were asked for."""
        return {"restrict": restrict}

    @staticmethod
    def suffix(path: Path) -> str:
        """What a result of this kind is called by default: as the coarse map `path`, if that loses nothing."""
        return path.suffix.lower() if path.suffix.lower() in RESULT_SUFFIXES else ".png"

    def check(self, path: Path, size: tuple[int, ...]) -> None:
        """Refuse, before anything is computed, a result that cannot be written.

        Args:
            path: Where the result goes.
            size: Height and width of the image, and so of the result.
        """
        suffix = path.suffix.lower()
        if suffix == ".webp" and max(size) > _WIDEST_WEBP:
            raise InputError(
                f".webp holds at most {_WIDEST_WEBP} pixels a side; got {size[1]}x{size[0]}: write the result as "
                f"{path.stem}.png"
            )
        if suffix in (".webp", ".bmp") and (self.layout.deep or self._largest() > 255):
            raise InputError(f"{path.suffix} holds no 16-bit values; write the result as {path.stem}.png")
        self.colours()

    def write(self, path: Path, refined: Refined) -> None:
        """Write a refined map, whole or not at all; the suffix of `path` chooses the format."""
        suffix = path.suffix.lower()
        if suffix in ARRAY_SUFFIXES:
            write_arrays(path, self._arrays(refined))
        else:
            write_picture(path, self._draw(refined, suffix))

    def write_probabilities(self, path: Path, refined: Refined) -> None:
        """Write probabilities as bytes x 255, with the labels that they belong to, as an .npz."""
        _write_probabilities(path, np.arange(len(refined.probabilities)), refined.probabilities)

    def _largest(self) -> int:
        """The largest number that pictures must hold."""
        return 0

    def _numbers(self, refined: Refined) -> NDArray[Any]:
        """Codes (H, W) or (H, W, 3), or shares (H, W), for a file of this kind."""
        return self.codes_of(refined.labels)

    def _draw(self, refined: Refined, suffix: str) -> Image.Image:
        return self.layout.draw(self._numbers(refined), suffix)

    def _arrays(self, refined: Refined) -> Mapping[str, NDArray[Any]]:
        key = self.layout.key if isinstance(self.layout, ArrayLayout) else None
        return {key or self._key: self.layout.store(self._numbers(refined))}


@dataclass(frozen=True)
class Labels(CoarseFile):
    """Class indices: grey levels, indices of a palette, or integers.

    Attributes:
        palette: Colours of the classes, where the file has none of its own.
    """

    palette: Palette | None = None
    kind: ClassVar[str] = "labels"

    def colours(self) -> NDArray[np.uint8]:
        if isinstance(self.layout, PictureLayout) and self.layout.palette:
            return np.frombuffer(self.layout.palette, np.uint8).reshape(-1, 3)
        return _colours_of(self.palette, self._largest())

    def refining(self, restrict: bool, classes: int | None) -> dict[str, Any]:
        return {"restrict": restrict, "classes": classes}

    def write_probabilities(self, path: Path, refined: Refined) -> None:
        labels, shares = refined.present  # not all labels up to 255
        _write_probabilities(path, labels.astype(self.values.dtype), shares)

    def _largest(self) -> int:
        return int(self.values.max())


@dataclass(frozen=True)
class Mask(CoarseFile):
    """Two levels, dark and bright, as labels 0 and 1.

    Attributes:
        codes: The two levels of the file. (2,)
    """

    codes: NDArray[Any]
    kind: ClassVar[str] = "mask"

    def codes_of(self, labels: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self.codes[labels])


@dataclass(frozen=True)
class Colours(CoarseFile):
    """A colour for each class.

    Attributes:
        codes: The colours of labels 0, 1, ... (K, 3)
    """

    codes: NDArray[np.uint8]
    kind: ClassVar[str] = "colours"

    def colours(self) -> NDArray[np.uint8]:
        return self.codes

    def codes_of(self, labels: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(self.codes[labels])

    def _arrays(self, refined: Refined) -> Mapping[str, NDArray[Any]]:
        return {self._key: refined.labels}  # colours would need a palette beside them


@dataclass(frozen=True)
class SoftMask(CoarseFile):
    """The share of an object in each pixel; `values` are the probabilities of ground and object (2, h, w)."""

    kind: ClassVar[str] = "alpha"
    _key: ClassVar[str] = "alpha"

    def labels(self, size: tuple[int, ...]) -> NDArray[Any]:
        return most_likely(self.values, size)

    def refining(self, restrict: bool, classes: int | None) -> dict[str, Any]:
        return {"restrict": False}  # which would wipe out an object that is nowhere more likely than not

    def labels_of(self, refined: Refined, path: Path) -> NDArray[Any]:
        return np.asarray(refined.probabilities.argmax(axis=0))

    def _numbers(self, refined: Refined) -> NDArray[Any]:
        return np.asarray(refined.probabilities[1])


@dataclass(frozen=True)
class Probabilities(CoarseFile):
    """Probabilities (K, h, w) of K classes, at any resolution.

    Attributes:
        classes: The label of each of the K maps, None for 0 to K - 1.
        palette: Colours of the classes.
    """

    classes: NDArray[Any] | None = None
    palette: Palette | None = None
    kind: ClassVar[str] = "probabilities"
    _key: ClassVar[str] = "probs"

    def labels(self, size: tuple[int, ...]) -> NDArray[Any]:
        return self._named(most_likely(self.values, size))

    def labels_of(self, refined: Refined, path: Path) -> NDArray[Any]:
        written = path.suffix.lower() in ARRAY_SUFFIXES  # then they need not be computed once more
        return self._named(refined.probabilities.argmax(axis=0) if written else refined.labels)

    def colours(self) -> NDArray[np.uint8]:
        return _colours_of(self.palette, self._largest())

    @staticmethod
    def suffix(path: Path) -> str:
        return ".png"

    def check(self, path: Path, size: tuple[int, ...]) -> None:
        super().check(path, size)
        if self.classes is not None and path.suffix.lower() == ".npy":
            raise InputError(
                f"its `classes` say which labels its maps belong to, which .npy cannot hold; call the result "
                f"{path.stem}.npz, or {path.stem}.png for labels"
            )

    def write_probabilities(self, path: Path, refined: Refined) -> None:
        shares = refined.probabilities
        _write_probabilities(path, np.arange(len(shares)) if self.classes is None else self.classes, shares)

    def _largest(self) -> int:
        return len(self.values) - 1 if self.classes is None else int(self.classes.max())

    def _named(self, maps: NDArray[Any]) -> NDArray[Any]:
        return maps if self.classes is None else np.asarray(self.classes[maps])

    def _draw(self, refined: Refined, suffix: str) -> Image.Image:
        labels = _as_grey(self._named(refined.labels))
        if suffix == ".webp":
            return _in_channels(labels)
        return _with_palette(labels, self.colours().tobytes()) if labels.dtype == np.uint8 else Image.fromarray(labels)

    def _arrays(self, refined: Refined) -> Mapping[str, NDArray[Any]]:
        assert isinstance(self.layout, ArrayLayout)
        arrays = {self.layout.key or self._key: self.layout.store(refined.probabilities)}
        return arrays if self.classes is None else {**arrays, "classes": self.classes}


def most_likely(shares: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """The most likely class of each pixel, the maps (K, h, w) enlarged to `size` one after the other. (H, W)"""
    best = winner = None
    for index, share in enumerate(shares):
        picture = Image.fromarray(np.asarray(share, np.float32))
        whole = np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))
        if best is None or winner is None:
            best, winner = whole.copy(), np.zeros(whole.shape, np.int32)
        else:
            winner[whole > best] = index
            np.maximum(best, whole, out=best)
    assert winner is not None
    return winner


def _colours_of(palette: Palette | None, largest: int) -> NDArray[np.uint8]:
    if palette is None:
        return class_colours()
    if largest >= len(palette.colours):
        raise InputError(
            f"its classes go up to {largest}; the palette has {len(palette.colours)} lines: add the others"
        )
    return palette.colours


def _as_grey(values: NDArray[Any]) -> NDArray[Any]:
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


def _write_probabilities(path: Path, labels: NDArray[Any], shares: NDArray[np.float32]) -> None:
    write_arrays(path, {"probs": np.rint(shares * 255).astype(np.uint8), "classes": labels})
