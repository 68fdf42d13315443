"""What the tiny imitations of real data sets are drawn with; each is in the test of its data set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (30, 44)  # height, width


def save_image(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC).save(path)


def columns(values: Sequence[int] | np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Upright stripes of these values, of about one width."""
    return np.tile(np.asarray(values, np.uint8)[np.arange(size[1]) * len(values) // size[1]], (size[0], 1))
