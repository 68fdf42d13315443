"""The five kinds of coarse maps in files: each knows its labels and colours, and how to write a refined map back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.drawing import class_colours
from spatialprop.errors import InputError
from spatialprop.maskfiles.arrays import ARRAY_SUFFIXES, write_arrays
from spatialprop.maskfiles.layouts import ArrayLayout, PictureLayout, as_grey
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
        numbers, suffix = self._numbers(refined), path.suffix.lower()
        if suffix in ARRAY_SUFFIXES:
            write_arrays(path, {self.layout.key or self._key: self.layout.store(numbers)})
        else:
            write_picture(path, self.layout.draw(numbers, suffix))

    def write_probabilities(self, path: Path, refined: Refined) -> None:
        """Write probabilities as bytes x 255, with the labels that they belong to, as an .npz."""
        _write_probabilities(path, np.arange(len(refined.probabilities)), refined.probabilities)

    def _largest(self) -> int:
        """The largest number that pictures must hold."""
        return 0

    def _numbers(self, refined: Refined) -> NDArray[Any]:
        """Codes (H, W) or (H, W, 3), or shares (H, W), for a file of this kind."""
        return self.codes_of(refined.labels)


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

    def write(self, path: Path, refined: Refined) -> None:
        if path.suffix.lower() in ARRAY_SUFFIXES:  # colours would need a palette beside them
            write_arrays(path, {self._key: refined.labels})
        else:
            super().write(path, refined)


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

    def write(self, path: Path, refined: Refined) -> None:
        suffix = path.suffix.lower()
        if suffix in ARRAY_SUFFIXES:
            arrays = {self.layout.key or self._key: self.layout.store(refined.probabilities)}
            write_arrays(path, arrays if self.classes is None else {**arrays, "classes": self.classes})
            return
        labels = as_grey(self._named(refined.labels))
        layout = PictureLayout("P", self.colours().tobytes()) if labels.dtype == np.uint8 else PictureLayout("I;16")
        write_picture(path, layout.draw(labels, suffix))

    def write_probabilities(self, path: Path, refined: Refined) -> None:
        shares = refined.probabilities
        _write_probabilities(path, np.arange(len(shares)) if self.classes is None else self.classes, shares)

    def _largest(self) -> int:
        return len(self.values) - 1 if self.classes is None else int(self.classes.max())

    def _named(self, maps: NDArray[Any]) -> NDArray[Any]:
        return maps if self.classes is None else np.asarray(self.classes[maps])


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


def _write_probabilities(path: Path, labels: NDArray[Any], shares: NDArray[np.float32]) -> None:
    write_arrays(path, {"probs": np.rint(shares * 255).astype(np.uint8), "classes": labels})
