"""Class colours, overlays and tints: pictures of maps, drawn with Pillow and NumPy alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

POSITIVE, NEGATIVE = (178, 24, 43), (33, 102, 172)  # of affinities; the ends of matplotlib's RdBu
STRONGEST = 32  # pixels whose affinity is drawn in full colour
_GAP, _TITLE = 8, 26  # pixels
_NARROWEST, _WIDEST, _TALLEST = 400, 720, 2160  # of a panel
_INK, _PAPER = (36, 41, 47), (255, 255, 255)


def class_colours(count: int = 256) -> NDArray[np.uint8]:
    """The colours of PASCAL VOC, in which neighbouring labels differ clearly. (count, 3)

    Example:
        >>> class_colours(3).tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    """
    labels = np.arange(count)
    colours = np.zeros((count, 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (labels >> (3 * bit + channel) & 1) << (7 - bit)
    return colours.astype(np.uint8)


def overlay(
    image: NDArray[np.uint8], labels: NDArray[np.integer[Any]], colours: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Tint the image by class, and draw a line along the borders. (H, W, 3)

    Pixels of label 0 are not tinted.

    Args:
        image: (H, W, 3).
        labels: (H, W).
        colours: Those of the classes (K, 3), by default those of PASCAL VOC.
    """
    colours = class_colours() if colours is None else colours
    tint = colours[labels.astype(np.int32) % len(colours)].astype(np.float32)
    weight = np.where(labels == 0, 0, 0.55).astype(np.float32)[..., None]
    drawn = image * (1 - weight) + tint * weight
    drawn[borders(labels)] = 255
    return np.asarray(np.rint(drawn), np.uint8)


def borders(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Find the pixels whose right or lower neighbour has another label. (H, W)"""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    found[:-1] |= labels[1:] != labels[:-1]
    return found


def pale(image: NDArray[np.uint8], contrast: float = 0.4, darkest: float = 140) -> NDArray[np.float64]:
    """The image in pale grey, to draw on. (H, W, 3)"""
    grey = image.mean(axis=-1, keepdims=True, dtype=np.float64)
    return np.repeat(grey * contrast + darkest, 3, axis=-1)


def relative_affinity(affinity: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Affinities from -1 to 1 for drawing: relative to the strongest ones, by their square root. (H, W)"""
    # A pixel depends on itself and a few others most by far: they must not set the scale. The root keeps far ones
    # visible.
    size = np.abs(affinity)
    strongest = np.sort(size[size > 0])[-STRONGEST:]
    top = strongest[0] if strongest.size else 1.0
    return np.asarray(np.sign(affinity) * np.sqrt(np.clip(size / top, 0, 1)), np.float32)


def tint_by_affinity(
    picture: NDArray[np.floating[Any]], relative: NDArray[np.float32], strength: float = 1.0
) -> NDArray[np.uint8]:
    """Tint a picture (H, W, 3) red where the `relative_affinity` is positive, and blue where it is negative."""
    weight = strength * np.abs(relative)[..., None]
    tint = np.where(relative[..., None] > 0, POSITIVE, NEGATIVE)
    return (weight * tint + (1 - weight) * picture).astype(np.uint8)


def sheet(
    image: NDArray[np.uint8],
    before: NDArray[np.integer[Any]],
    after: NDArray[np.integer[Any]],
    colours: NDArray[np.uint8] | None = None,
) -> Image.Image:
    """Show image, labels before, labels after, and what changed, side by side."""
    changed = before != after
    difference = pale(image)
    difference[changed] = POSITIVE
    share = f"{100 * changed.mean():.1f} %".replace("100.0 %", "100 %")
    return side_by_side(
        [
            ("image", image),
            ("before", overlay(image, before, colours)),
            ("after", overlay(image, after, colours)),
            (f"changed: {share} of the pixels", np.rint(difference).astype(np.uint8)),
        ]
    )


def side_by_side(panels: Sequence[tuple[str, NDArray[np.uint8]]]) -> Image.Image:
    """Show pictures of one size beside each other, each under its title, at a size that suits a page."""
    height, width = panels[0][1].shape[:2]
    scale = min(max(1.0, _NARROWEST / width), _WIDEST / width, _TALLEST / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    columns = len(panels) if size[0] <= 1.4 * size[1] or len(panels) < 4 else 2
    rows = -(-len(panels) // columns)
    cell = (max(size[0], 240) + _GAP, size[1] + _TITLE + _GAP)
    canvas = Image.new("RGB", (columns * cell[0] + _GAP, rows * cell[1] + _GAP), _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(15)
    for place, (title, pixels) in enumerate(panels):
        left, top = _GAP + place % columns * cell[0], _GAP + place // columns * cell[1]
        draw.text((left, top), title, fill=_INK, font=font)
        picture = Image.fromarray(pixels)
        canvas.paste(picture.resize(size, Image.Resampling.LANCZOS), (left, top + _TITLE))
    return canvas


def ring(picture: NDArray[np.uint8], pixel: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw a ring around a pixel (row, column) that leaves it and its neighbours in sight. (H, W, 3)"""
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    row, column = pixel
    radius = max(4, max(picture.shape) // 80)
    for extra, colour in ((1, (0, 0, 0)), (0, (255, 255, 255)), (-1, (0, 0, 0))):
        reach = radius + extra
        draw.ellipse((column - reach, row - reach, column + reach, row + reach), outline=colour)
    return np.asarray(canvas)
