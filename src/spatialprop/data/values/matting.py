"""Matting: trimaps in, alphas out. Pairs to train on are composed; images to test on are composed or read."""

import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.label_set import LabelSet
from spatialprop.data.sets.folder import images_in
from spatialprop.data.values.example import ValueExample, ValueSplits
from spatialprop.data.values.mattes import Foreground, compose, draw_foreground, trimap_of
from spatialprop.data.values.photographs import Photographs
from spatialprop.errors import InputError
from spatialprop.maskfiles import IMAGE_SUFFIXES, open_picture, read_image, read_trimap, upright

LABELS = LabelSet("matting", ("alpha",))
_TRIES = 4  # until a trimap holds both sides
_CUT_OUTS = 0.3  # of the foregrounds, where there are any


class CutOuts:
    """Foregrounds from a folder: `images/` and `alphas/` of the same names, or one `images/` of RGBA pictures."""

    def __init__(self, folder: str) -> None:
        self.paths = images_in(_existing(Path(folder) / "images"))
        self.alphas = Path(folder) / "alphas"

    def piece(self, rng: np.random.Generator, size: tuple[int, int]) -> Foreground:
        """A piece of one of them that holds some of its border, if one is found soon. (H, W)"""
        path = self.paths[int(rng.integers(len(self.paths)))]
        image = read_image(path)
        if self.alphas.is_dir():
            alpha: NDArray[Any] = read_alpha(_beside(self.alphas, path), image.shape[:2])
        else:
            with open_picture(path, "a cut-out") as opened:
                alpha = np.asarray(upright(opened).convert("RGBA"))[..., 3].astype(np.float32) / 255
        height, width = alpha.shape
        for _ in range(_TRIES):
            side = min(height, width, round(min(size) * float(np.exp(rng.uniform(np.log(0.7), np.log(3))))))
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            part = np.asarray(alpha[top : top + side, left : left + side], np.float32)
            if 0.05 < part.mean() < 0.95:
                break
        way = cv2.INTER_AREA if side > min(size) else cv2.INTER_LINEAR
        seen = image[top : top + side, left : left + side].astype(np.float32)
        colours = _foreground_colours(seen, part)
        return Foreground(
            np.asarray(cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=way), np.float32),
            np.asarray(cv2.resize(colours, size[::-1], interpolation=way), np.float32),
        )


class ComposedMattes:
    """Foregrounds over photographs, composed anew for each patch.

    Args:
        photographs: Backgrounds, and the texture of drawn foregrounds.
        size: Height and width of a patch.
        count: Patches in an epoch.
        cut_outs: Foregrounds beside the drawn ones.
        widest: Radius in pixels by which trimaps are eroded at most.
    """

    labels = LABELS

    def __init__(
        self,
        photographs: Photographs,
        size: tuple[int, int],
        count: int,
        cut_outs: CutOuts | None = None,
        widest: int = 24,
    ) -> None:
        self.photographs, self.size, self.count, self.widest = photographs, size, count, widest
        self.cut_outs = cut_outs

    def __len__(self) -> int:
        return self.count

    def draw(self, rng: np.random.Generator) -> ValueExample:
        """One patch."""
        for _ in range(_TRIES):
            texture = self.photographs.piece(rng, self.size)
            if self.cut_outs is not None and rng.random() < _CUT_OUTS:
                foreground = self.cut_outs.piece(rng, self.size)
            else:
                foreground = draw_foreground(texture, rng)
            trimap = trimap_of(foreground.alpha, rng, self.widest)
            if (trimap == 0).any() and (trimap == 255).any():
                break
        image = compose(self.photographs.piece(rng, self.size), foreground, rng)
        return matte_example("", image, trimap, foreground.alpha)


class FixedMattes:
    """So many composed images that are always the same, each depending on seed, split and index alone."""

    labels = LABELS

    def __init__(self, composed: ComposedMattes, split: str, seed: int) -> None:
        self._composed, self._split, self._seed = composed, split, seed

    def __len__(self) -> int:
        return len(self._composed)

    @property
    def names(self) -> list[str]:
        return [f"{self._split}_{index:05d}" for index in range(len(self))]

    def __getitem__(self, index: int) -> ValueExample:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        rng = np.random.default_rng((self._seed, zlib.crc32(self._split.encode()), index))
        return self._composed.draw(rng)._replace(name=self.names[index])


class MatteFolder:
    """A folder of `images/`, `trimaps/` (0, 128, 255) and `alphas/`, files of one name belonging together."""

    labels = LABELS

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.paths = images_in(_existing(self.root / "images"))
        self.names = [path.stem for path in self.paths]
        self._trimaps = [_beside(_existing(self.root / "trimaps"), path) for path in self.paths]
        self._alphas = [_beside(_existing(self.root / "alphas"), path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ValueExample:
        image = read_image(self.paths[index])
        trimap = read_trimap(self._trimaps[index])
        if trimap.shape != image.shape[:2]:
            raise InputError(
                f"{self._trimaps[index]} has {trimap.shape[1]}x{trimap.shape[0]} pixels, its image "
                f"{image.shape[1]}x{image.shape[0]}; give both one size"
            )
        return matte_example(self.names[index], image, trimap, read_alpha(self._alphas[index], image.shape[:2]))


def matte_example(
    name: str, image: NDArray[np.uint8], trimap: NDArray[np.uint8], alpha: NDArray[np.float32]
) -> ValueExample:
    """An image (H, W, 3), its trimap (0, 128, 255) and its alpha as an example."""
    return ValueExample(
        name,
        np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / np.float32(255),
        (trimap == 255).astype(np.float32)[None],
        (trimap != 128).astype(np.float32)[None],
        alpha[None].astype(np.float32),
    )


def read_alpha(path: Path, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Read an alpha map of 8 or 16 bits, as floats from 0 to 1. (H, W)"""
    with open_picture(path, "an alpha map") as opened:
        turned = upright(opened)
        values = np.asarray(turned if turned.mode in ("L", "I;16", "I") else turned.convert("L"))
    if values.shape != tuple(size[:2]):
        raise InputError(f"{path} has {values.shape[1]}x{values.shape[0]} pixels, its image {size[1]}x{size[0]}")
    return values.astype(np.float32) / np.float32(65535 if values.max(initial=0) > 255 else 255)


def matting(
    *,
    root: str | None = None,
    photographs: Sequence[str] = (),
    cut_outs: str | None = None,
    train: int,
    val: int,
    test: int,
    patch: int,
    size: Sequence[int],
    seed: int,
    widest: int = 24,
) -> ValueSplits:
    """Composed patches to train on; composed images to choose by; those of `root`, or composed ones, to test on."""
    for name, count in {"train": train, "val": val, "test": test}.items():
        if count < 1:
            raise ValueError(f"data.{name} must be at least 1 image; got {count}")
    height, width = size
    given = None if cut_outs is None else CutOuts(cut_outs)
    known = partial(Photographs, photographs, memory=512)
    shown = {split: known(held_out=True, split=split) for split in ("val", "test")}
    composed = {
        split: ComposedMattes(shown[split], (height, width), count) for split, count in (("val", val), ("test", test))
    }
    return ValueSplits(
        ComposedMattes(known(held_out=False), (patch, patch), train, given, widest),
        FixedMattes(composed["val"], "val", seed),
        FixedMattes(composed["test"], "test", seed) if root is None else MatteFolder(root),
    )


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist; a folder for matting holds images/, trimaps/ and alphas/")
    return folder


def _beside(folder: Path, image: Path) -> Path:
    for suffix in IMAGE_SUFFIXES:
        if (folder / f"{image.stem}{suffix}").is_file():
            return folder / f"{image.stem}{suffix}"
    raise FileNotFoundError(f"{folder} holds nothing for {image.name}; give {image.stem}.png")


def _foreground_colours(image: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours of the foreground alone, where it is transparent those of the nearest solid parts, blurred."""
    solid = (alpha > 0.95).astype(np.float32)
    total = solid
    colours: NDArray[Any] = image * solid[..., None]
    for deviation in (2.0, 8.0, 32.0):
        far, near = total[..., None] <= 0.05, cv2.GaussianBlur(total, (0, 0), deviation)
        colours = np.where(far, cv2.GaussianBlur(colours, (0, 0), deviation), colours)
        total = np.where(total > 0.05, total, near).astype(np.float32)
    return np.asarray(np.where(solid[..., None] > 0, image, colours / np.maximum(total, 1e-6)[..., None]), np.float32)
