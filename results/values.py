"""Draw docs/matte.jpg and docs/colours.jpg with the packaged weights.

    python results/values.py

The photograph is examples/coffee.jpg (CC0). Its matte comes from the mask beside it: nothing is believed within
24 pixels of the border; its colours come from strokes in the colours that it has there.
"""

from pathlib import Path

import cv2
import numpy as np

from spatialprop import Colorize, Matte
from spatialprop.maskfiles import band_around, read_image
from spatialprop.values import estimate_foreground, scribbled
from spatialprop.yuv import split_colours

REPOSITORY = Path(__file__).parents[1]
BAND = 24
SIDE = 420  # pixels of a panel's width
STROKES = (  # from, to, as shares of width and height
    ((0.05, 0.10), (0.30, 0.08)), ((0.70, 0.08), (0.95, 0.14)), ((0.05, 0.60), (0.12, 0.90)),
    ((0.20, 0.55), (0.30, 0.70)), ((0.42, 0.40), (0.56, 0.40)), ((0.45, 0.52), (0.60, 0.54)),
    ((0.40, 0.78), (0.60, 0.82)), ((0.78, 0.50), (0.86, 0.60)), ((0.72, 0.90), (0.95, 0.92)),
    ((0.36, 0.20), (0.60, 0.16)), ((0.66, 0.38), (0.70, 0.46)), ((0.88, 0.30), (0.95, 0.44)),
)  # fmt: skip


def strip(panels: list[np.ndarray], path: Path) -> None:
    """Write panels beside each other, small enough for a page."""
    height = round(panels[0].shape[0] * SIDE / panels[0].shape[1])
    small = [cv2.resize(panel, (SIDE, height), interpolation=cv2.INTER_AREA) for panel in panels]
    gap = np.full((height, 6, 3), 255, np.uint8)
    row = np.concatenate([part for panel in small for part in (panel, gap)][:-1], axis=1)
    cv2.imwrite(str(path), row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(path.relative_to(REPOSITORY))


def draw_matte(photograph: np.ndarray, mask: np.ndarray, weights: str = "matte") -> None:
    trimap = band_around(mask, BAND)
    alpha = Matte.load(weights)(photograph, trimap)
    colours = estimate_foreground(photograph, alpha)
    before = np.full_like(photograph, (40, 120, 110))
    composed = alpha[..., None] * colours + (1 - alpha[..., None]) * before
    grey = [np.repeat(one[..., None], 3, axis=2) for one in (trimap, np.rint(alpha * 255).astype(np.uint8))]
    strip([photograph, *grey, composed.round().astype(np.uint8)], REPOSITORY / "docs" / "matte.jpg")


def draw_colours(photograph: np.ndarray, weights: str = "colour") -> None:
    height, width = photograph.shape[:2]
    grey = np.rint(split_colours(photograph)[0] * 255).astype(np.uint8)
    marked = np.repeat(grey[..., None], 3, axis=2)
    for start, end in STROKES:
        ends = [(round(x * width), round(y * height)) for x, y in (start, end)]
        line = np.zeros((height, width), np.uint8)
        cv2.line(line, ends[0], ends[1], 1, 5)
        brightness = grey[line > 0].astype(np.float32)
        colour = np.median(photograph[line > 0] - brightness[:, None], axis=0)  # one colour, any brightness
        marked[line > 0] = np.clip(brightness[:, None] + colour, 0, 255)
    scribbled(grey, marked)
    coloured = Colorize.load(weights)(grey, marked)
    plain = np.repeat(grey[..., None], 3, axis=2)
    strip([plain, marked, coloured, photograph], REPOSITORY / "docs" / "colours.jpg")


if __name__ == "__main__":
    given = read_image(REPOSITORY / "examples" / "coffee.jpg")
    draw_matte(given, read_image(REPOSITORY / "examples" / "coffee_mask.png").max(axis=2) > 0)
    draw_colours(given)
