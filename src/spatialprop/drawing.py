"""Pictures of what the refiner did and of what it looks at, drawn with Pillow and NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from spatialprop.refiner.inputs import CoarseLike, ImageLike
    from spatialprop.refiner.refiner import Refiner

_GAP, _TITLE = 8, 26  # pixels
_NARROWEST, _WIDEST = 400, 720  # of a panel
_INK, _PAPER = (36, 41, 47), (255, 255, 255)
_HEARD, _COUNTERED = (178, 24, 43), (33, 102, 172)
_LOUDEST = 32  # pixels that are drawn in full colour


def class_colours(count: int = 256) -> NDArray[np.uint8]:
    """Colours that differ between neighbouring labels: those of PASCAL VOC. (count, 3)

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
    """The image tinted by class, with a line along the borders. (H, W, 3)

    Label 0 stays as it is, unless it is the only one.

    Args:
        image: (H, W, 3).
        labels: (H, W).
        colours: Those of the classes (K, 3); by default those of PASCAL VOC.
    """
    colours = class_colours() if colours is None else colours
    tint = colours[labels.astype(np.int32) % len(colours)].astype(np.float32)
    weight = np.where(labels == 0, 0, 0.55).astype(np.float32)[..., None]
    drawn = image * (1 - weight) + tint * weight
    drawn[borders(labels)] = 255
    return np.asarray(np.rint(drawn), np.uint8)


def borders(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour has another label. (H, W)"""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    found[:-1] |= labels[1:] != labels[:-1]
    return found


def sheet(
    image: NDArray[np.uint8],
    before: NDArray[np.integer[Any]],
    after: NDArray[np.integer[Any]],
    colours: NDArray[np.uint8] | None = None,
) -> Image.Image:
    """Image, map before, map after, and what changed, side by side."""
    changed = before != after
    grey = (image.mean(axis=-1, keepdims=True) * 0.4 + 140).repeat(3, axis=2)
    grey[changed] = _HEARD
    share = f"{100 * changed.mean():.1f} %".replace("100.0 %", "100 %")
    return _side_by_side(
        [
            ("image", image),
            ("before", overlay(image, before, colours)),
            ("after", overlay(image, after, colours)),
            (f"changed: {share} of the pixels", np.rint(grey).astype(np.uint8)),
        ]
    )


def explain(refiner: Refiner, image: ImageLike, coarse: CoarseLike | None, pixel: tuple[int, int]) -> Image.Image:
    """A picture of which pixels one pixel listens to: red is heard, blue is countered.

    Args:
        refiner: Whose affinities.
        image: An array (H, W, 3) of bytes or a PIL image.
        coarse: The map to mend; None counts all directions alike.
        pixel: Row and column.

    Example:
        >>> from spatialprop import Refiner
        >>> from spatialprop.nn import RefinementNetwork
        >>> from spatialprop.nn.guidance import LightGuidance
        >>> refiner = Refiner(RefinementNetwork(LightGuidance))
        >>> explain(refiner, np.zeros((48, 64, 3), np.uint8), None, (20, 30)).mode
        'RGB'
    """
    from spatialprop.refiner.inputs import InputError, rgb

    pixels = rgb(image) if isinstance(image, Image.Image) else np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise InputError(f"a picture is drawn over an image (H, W, 3) of bytes; got {pixels.dtype} {pixels.shape}")
    heard = np.asarray(refiner.affinity(pixels, coarse, pixel))
    size = np.abs(heard)
    # A pixel hears itself and a few others most by far: they must not set the scale. The root keeps far ones visible.
    loudest = np.sort(size[size > 0])[-_LOUDEST:]
    weight = np.sqrt(np.clip(size / (loudest[0] if loudest.size else 1), 0, 1))[..., None]
    tint = np.where(heard[..., None] > 0, _HEARD, _COUNTERED)
    grey = pixels.mean(axis=-1, keepdims=True) * 0.4 + 140
    over = (0.9 * weight * tint + (1 - 0.9 * weight) * grey).astype(np.uint8)
    alone = (weight * tint + (1 - weight) * 255).astype(np.uint8)
    panels = [(name, _marked(panel, pixel)) for name, panel in (("image", pixels), ("heard", over), ("alone", alone))]
    names = [
        f"image, pixel ({pixel[0]}, {pixel[1]})",
        "what it listens to",
        "relative to those heard most; square root",
    ]
    return _side_by_side([(name, panel) for name, (_, panel) in zip(names, panels, strict=True)])


def _marked(panel: NDArray[np.uint8], pixel: tuple[int, int]) -> NDArray[np.uint8]:
    """A ring around the pixel, that leaves it and its neighbours in sight."""
    picture = Image.fromarray(panel)
    draw = ImageDraw.Draw(picture)
    row, column = pixel
    radius = max(4, max(panel.shape) // 80)
    for extra, colour in ((1, (0, 0, 0)), (0, (255, 255, 255)), (-1, (0, 0, 0))):
        reach = radius + extra
        draw.ellipse((column - reach, row - reach, column + reach, row + reach), outline=colour)
    return np.asarray(picture)


def _side_by_side(panels: Sequence[tuple[str, NDArray[np.uint8]]]) -> Image.Image:
    height, width = panels[0][1].shape[:2]
    scale = min(max(1.0, _NARROWEST / width), _WIDEST / width)
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
