"""Some of training's coarse maps shown as the label maps that people have."""

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import VOID

SOFTNESS = 4.0  # pixels: the refiner spreads the labels that it is given as far


class ShowAsLabels:
    """Show some patches' coarse maps as what the refiner makes of a label map.

    It is given labels as often as probabilities, and those are certain everywhere: half of a label's share is spread
    over its surroundings, and which pixels are in doubt says nothing of the segmenter. What has only ever seen
    probabilities does not know when to leave such a map alone, the truth above all.

    Args:
        ragged: Share of the patches that show the most likely class of their coarse map.
        truth: Share of the patches that show the truth, which must come out as it went in.

    Example:
        >>> coarse = np.full((2, 8, 8), [[[0.6]], [[0.4]]], np.float32)
        >>> shown = ShowAsLabels(ragged=1, truth=0)(coarse, np.zeros((8, 8), np.uint8), np.random.default_rng(0))
        >>> shown[:, 0, 0]
        array([1., 0.], dtype=float32)
    """

    def __init__(self, ragged: float = 0.2, truth: float = 0.1) -> None:
        if min(ragged, truth) < 0 or ragged + truth > 1:
            raise ValueError(
                f"ragged and truth are shares of all patches, from 0 to 1 together; got ragged = {ragged}, "
                f"truth = {truth}"
            )
        self.ragged = ragged
        self.truth = truth

    def __call__(
        self, coarse: NDArray[np.float32], label: NDArray[np.uint8], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Probabilities in place of `coarse`, both (K, h, w), for a patch whose truth is `label` (h, w)."""
        drawn = rng.random()
        if drawn >= self.ragged + self.truth:
            return coarse
        labels = coarse.argmax(axis=0)
        if drawn < self.truth:
            labels = np.where(label == VOID, labels, label)
        return softened(labels, len(coarse))


def softened(labels: NDArray[np.integer], classes: int) -> NDArray[np.float32]:
    """Half of each label's share stays, half is spread by a Gaussian. (K, h, w)"""
    certain = (labels == np.arange(classes)[:, None, None]).astype(np.float32)
    side = 2 * round(2.5 * SOFTNESS) + 1
    spread = [cv2.GaussianBlur(one, (side, side), SOFTNESS, borderType=cv2.BORDER_REPLICATE) for one in certain]
    return np.asarray((certain + np.stack(spread)) / 2, np.float32)
