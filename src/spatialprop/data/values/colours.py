"""Colorization: grey pictures and some coloured points or strokes in, colours out. Any photograph is a pair."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.label_set import LabelSet
from spatialprop.data.sets.folder import images_in
from spatialprop.data.values.example import ValueExample, ValueSplits
from spatialprop.data.values.photographs import Photographs
from spatialprop.errors import InputError
from spatialprop.maskfiles import read_image
from spatialprop.yuv import split_colours

LABELS = LabelSet("colorize", ("u", "v"))
FEWEST, MOST = 10, 1000  # hints
_PICTURE = 512 * 512  # pixels that these numbers are meant for
_STROKES = 0.4  # of the patches have strokes too
_ALIKE = 0.06  # a stroke has one colour: pixels whose own differs by more are not painted
_TRIES = 4  # pieces of photographs that are looked at for each coloured one
_POINT = 3  # pixels: the side of a hint in tests


def random_hints(colours: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where a user might know the colours (2, H, W): some points of one width and, at times, strokes. (H, W)"""
    height, width = colours.shape[1:]
    share = height * width / _PICTURE
    # Few hints on a small patch are as far apart as on a picture.
    wanted = np.exp(rng.uniform(np.log(FEWEST), np.log(MOST))) * share
    count = max(1, round(wanted * rng.uniform(1, 3)))
    marks = points(height, width, count, int(rng.choice([1, 3, 3, 5, 7])), rng)
    if rng.random() < _STROKES:
        for _ in range(int(rng.integers(1, 2 + round(wanted)))):
            marks |= _stroke(colours, rng)
    return marks


def points(height: int, width: int, count: int, side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Squares of so many pixels a side at random places. (H, W)"""
    marks = np.zeros((height, width), np.uint8)
    marks[rng.integers(height, size=count), rng.integers(width, size=count)] = 1
    return np.asarray(cv2.dilate(marks, np.ones((side, side), np.uint8)) > 0)


def _stroke(colours: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A stroke of a brush, without what lies on other things than it began on."""
    height, width = colours.shape[1:]
    steps = int(rng.integers(2, 8))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.5, steps))
    walk = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1) * rng.uniform(4, 16), axis=0)
    start = np.array([rng.integers(width), rng.integers(height)])
    drawn = np.zeros((height, width), np.uint8)
    line = np.rint(np.concatenate([start[None], start + walk])).astype(np.int32)
    cv2.polylines(drawn, [line], False, 1, int(rng.integers(1, 8)))
    here = colours[:, start[1], start[0]]
    return np.asarray((drawn > 0) & (np.abs(colours - here[:, None, None]).max(axis=0) < _ALIKE))


def colour_example(name: str, rgb: NDArray[np.uint8], marks: NDArray[np.bool_]) -> ValueExample:
    """A photograph (H, W, 3) whose colours are known where `marks` (H, W) are."""
    brightness, colours = split_colours(rgb)
    confidence = marks.astype(np.float32)[None]
    grey = np.rint(brightness * 255) / np.float32(255)  # as a grey picture holds it
    return ValueExample(name, grey[None].astype(np.float32), colours * confidence, confidence, colours)


class ColourPatches:
    """Pieces of photographs with random hints."""

    labels = LABELS

    def __init__(self, photographs: Photographs, size: tuple[int, int], count: int) -> None:
        self.photographs, self.size, self.count = photographs, size, count

    def __len__(self) -> int:
        return self.count

    def draw(self, rng: np.random.Generator) -> ValueExample:
        """One patch."""
        rgb = self.photographs.piece(rng, self.size)
        if rng.random() < 0.3:  # more colour, or less
            grey = rgb.mean(axis=2, keepdims=True)
            rgb = np.clip(grey + rng.uniform(0.5, 1.6) * (rgb - grey), 0, 255).astype(np.uint8)
        return colour_example("", rgb, random_hints(split_colours(rgb)[1], rng))


class ColourImages:
    """Photographs, each with every one of some numbers of hints, always the same ones.

    Args:
        images: The photographs (H, W, 3) by name.
        hints: Numbers of points, each a square of three pixels.
        seed: Another seed places them elsewhere.
    """

    labels = LABELS

    def __init__(self, images: Sequence[tuple[str, Path | NDArray[np.uint8]]], hints: Sequence[int], seed: int) -> None:
        if not hints or min(hints) < 1:
            raise ValueError(f"data.hints must be numbers of hints, each at least 1; got {list(hints)}")
        self._images, self._hints, self._seed = list(images), list(hints), seed
        self.names = [f"{name}_{count}" for name, _ in self._images for count in self._hints]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> ValueExample:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        name, image = self._images[index // len(self._hints)]
        rgb = read_image(image) if isinstance(image, Path) else image
        if _is_grey(rgb):
            raise InputError(f"{name} is a grey picture, whose colours nobody knows; take it out of the folder")
        count = self._hints[index % len(self._hints)]
        rng = np.random.default_rng((self._seed, zlib.crc32(name.encode()), count))
        height, width = rgb.shape[:2]
        marks = points(height, width, count, _POINT, rng)
        return colour_example(self.names[index], rgb, marks)._replace(group=str(count))


def colorize(
    *,
    root: str | None = None,
    photographs: Sequence[str] = (),
    train: int,
    val: int,
    test: int,
    patch: int,
    size: Sequence[int],
    hints: Sequence[int],
    seed: int,
) -> ValueSplits:
    """Pieces of photographs to train on; pieces that are held out to choose by and, without `root`, to test on.

    Args:
        root: A folder of photographs to test on.
        photographs: Folders to train on; without, drawn images.
        train, val, test: Numbers of patches in an epoch, of images to choose by, and to test on.
        patch: Side of a patch.
        size: Height and width of the images that are held out.
        hints: Numbers of hints that each image is tested with.
        seed: Fixes the images and hints of validation and test.
    """
    for name, count in {"train": train, "val": val, "test": test}.items():
        if count < 1:
            raise ValueError(f"data.{name} must be at least 1 image; got {count}")
    height, width = size

    def held_out(split: str, count: int) -> ColourImages:
        source = Photographs(photographs, held_out=True, split=split)
        rng = np.random.default_rng((seed, zlib.crc32(split.encode())))
        pieces: list[NDArray[np.uint8]] = []
        for _ in range(_TRIES * count):
            piece = source.piece(rng, (height, width), (0.7, 1.4))
            pieces += [] if _is_grey(piece) or len(pieces) == count else [piece]
        if len(pieces) < count:
            raise ValueError(f"of the photographs that are held out too many are grey for {count} {split} images")
        images = [(f"{split}_{index:05d}", piece) for index, piece in enumerate(pieces)]
        return ColourImages(images, hints, seed)

    given = None if root is None else ColourImages([(path.stem, path) for path in _images(root)], hints, seed)
    return ValueSplits(
        ColourPatches(Photographs(photographs, held_out=False), (patch, patch), train),
        held_out("val", val),
        given or held_out("test", test),
    )


def _is_grey(rgb: NDArray[np.uint8]) -> bool:
    return bool((rgb == rgb[..., :1]).all())


def _images(root: str) -> list[Path]:
    if not Path(root).is_dir():
        raise FileNotFoundError(f"data.root={root} is no folder; give one of photographs to test on")
    return images_in(Path(root))
