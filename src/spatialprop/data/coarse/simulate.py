"""Coarse maps simulated from labels, like those of a segmenter at an eighth of the resolution."""

import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Example
from spatialprop.data.label_set import VOID


class SimulatedCoarse:
    """Coarse probabilities for images that no segmenter has seen.

    The label map is bent by a smooth random displacement, averaged over cells of `stride` pixels, blurred, and made
    less certain in places. The map of an image depends on its name and the seed alone.

    Args:
        classes: Number of classes K.
        stride: Side of a cell in pixels.
        shift: Typical displacement of a border in pixels.
        seed: Another seed gives other maps.

    Example:
        >>> example = Example("one", np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8))
        >>> SimulatedCoarse(classes=2)(example).shape
        (2, 5, 8)
    """

    def __init__(self, classes: int, stride: int = 8, shift: float = 4.0, seed: int = 0) -> None:
        self.classes = classes
        self.stride = stride
        self.shift = shift
        self.seed = seed

    def __call__(self, example: Example) -> NDArray[np.uint8]:
        """Coarse map of an example. (K, h, w)"""
        label = example.label
        height, width = label.shape
        cells = (-(-height // self.stride), -(-width // self.stride))
        rng = np.random.default_rng((self.seed, zlib.crc32(example.name.encode())))
        bent = bend(label, self.shift, cells, rng)
        doubt = np.clip(rng.normal(0.08, 0.06, cells), 0.0, 0.4).astype(np.float32)
        known = np.zeros((self.classes, *cells), np.float32)  # less than one in all where labels are void
        for value in set(np.unique(bent).tolist()) - {VOID}:
            present = cv2.resize((bent == value).astype(np.float32), cells[::-1], interpolation=cv2.INTER_AREA)
            known[value] = cv2.GaussianBlur(present, (3, 3), 0)
        share = known.sum(axis=0)
        unknown = share < 1e-3
        mixed = known / np.maximum(share, 1e-3) * (1 - doubt) + doubt / self.classes
        mixed[:, unknown] = 1 / self.classes
        return np.asarray(np.rint(mixed * 255), np.uint8)


def bend(label: NDArray[np.uint8], shift: float, knots: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move a label map (H, W) by a smooth displacement of typically `shift` pixels at each of `knots`."""
    height, width = label.shape
    moved = cv2.resize(rng.normal(0, shift, (*knots, 2)).astype(np.float32), (width, height))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    bent = cv2.remap(
        label, columns + moved[..., 0], rows + moved[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(bent, np.uint8)
