"""YOLO's text files of polygons: a class and x y x y ... a line, as shares of the image's size."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from spatialprop.errors import InputError, reading
from spatialprop.files import write_file
from spatialprop.formats.instances import RefineMask, refine_instance
from spatialprop.formats.polygons import Ring, outlines
from spatialprop.maskfiles import read_image

MOST_PIXELS = 1 << 26
_BOX = 5  # words on a line that has a box and no polygon


class YoloOutcome(NamedTuple):
    """How many objects of a file were refined, how many stay as they were, and how many pixels changed."""

    refined: int
    kept: int
    changed: int
    pixels: int


def refine_yolo(image: Path, labels: Path, output: Path, refine: RefineMask) -> YoloOutcome:
    """Refine the polygons of one image and write them, in their order, to another file.

    A line has one polygon: parts of an object are joined by lines of no width, as is usual. Boxes stay as they are.

    Args:
        image: The picture.
        labels: Its text file.
        output: Where to.
        refine: Refines a window of an image and a mask.
    """
    lines = _read(labels)
    pixels = read_image(image, MOST_PIXELS)
    height, width = pixels.shape[:2]
    refined = changed = 0
    written = []
    for words in lines:
        found = None
        if len(words) > _BOX:
            mask = _draw(words, height, width)
            found = refine_instance(pixels, mask, refine)
        if found is None:
            written.append(" ".join(words))
            continue
        refined, changed = refined + 1, changed + int((found != mask).sum())
        # Filling a polygon takes in the pixels that its line meets, so the line goes through the outermost pixels.
        corners = _inset(_joined(outlines(found)), found)
        shares = (f"{(x + 0.5) / width:.6f} {(y + 0.5) / height:.6f}" for x, y in corners)
        written.append(" ".join([words[0], *shares]))
    write_file(output, "".join(f"{line}\n" for line in written))
    return YoloOutcome(refined, len(lines) - refined, changed, height * width)


def _read(path: Path) -> list[list[str]]:
    with reading(path, "YOLO labels", "export it again"):
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
        for number, words in enumerate(lines, start=1):
            count = len(words) - 1
            if not words[0].isdigit() or (len(words) != _BOX and (count < 6 or count % 2)):
                raise InputError(
                    f"line {number} must be a class and x y x y x y ..., or a class and a box of 4 numbers; "
                    f"got {len(words)} words: {' '.join(words)[:60]}"
                )
            if not all(-0.5 <= value <= 1.5 for value in _numbers(words[1:])):
                raise InputError(f"line {number} must hold shares of the image's size, from 0 to 1")
        return lines


def _numbers(words: Sequence[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        return [math.nan]


def _draw(words: Sequence[str], height: int, width: int) -> NDArray[np.uint8]:
    values = np.reshape(_numbers(words[1:]), (-1, 2)) * (width, height) - 0.5
    canvas = Image.new("L", (width, height))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in values], fill=1)
    return np.array(canvas)


def _joined(rings: list[Ring]) -> Ring:
    """One ring of several: from the nearest corner of what there is to the next one, around it, and back."""
    whole, *others = rings
    for ring in others:
        here, there = np.array(whole), np.array(ring)
        apart = ((here[:, None] - there) ** 2).sum(axis=-1)
        at, to = np.unravel_index(int(apart.argmin()), apart.shape)
        whole = [*whole[: at + 1], *ring[to:], *ring[: to + 1], *whole[at:]]
    return whole


def _inset(ring: Ring, mask: NDArray[np.uint8]) -> Ring:
    """For each corner of an outline the pixel of the mask that touches it."""
    height, width = mask.shape
    found: Ring = []
    for x, y in ring:
        around = [(x + dx, y + dy) for dy in (-1, 0) for dx in (-1, 0)]
        touching = next(((a, b) for a, b in around if 0 <= a < width and 0 <= b < height and mask[b, a]), None)
        if touching is not None and (not found or found[-1] != touching):
            found.append(touching)
    while 0 < len(found) < 3:  # a single pixel is a polygon too
        found.append(found[-1])
    return found
