"""Label maps in which one label says that nothing is known there, such as 255 around PASCAL VOC's objects."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import InputError
from spatialprop.refiner import Opened, Refiner


@dataclass(frozen=True)
class Filled:
    """A refined label map whose unknown pixels got a label too; labels and probabilities as `Opened` has them.

    Attributes:
        opened: Of the known classes alone, in their order.
        known: Which labels these are. (k,)
    """

    opened: Opened
    known: NDArray[Any]

    @cached_property
    def labels(self) -> NDArray[Any]:
        return np.asarray(self.known[self.opened.labels])

    @property
    def probabilities(self) -> NDArray[np.float32]:
        shares = self.opened.probabilities
        whole = np.zeros((int(self.known.max()) + 1, *shares.shape[1:]), np.float32)
        whole[self.known] = shares
        return whole

    @property
    def present(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        places, shares = self.opened.present
        return np.asarray(self.known[places]), shares


def open_with_unknown(
    refiner: Refiner, image: NDArray[np.uint8], labels: NDArray[Any], unknown: int, restrict: bool
) -> Filled:
    """Refine a label map, given as zero probability of every class where its label is `unknown`."""
    known = np.unique(labels[labels != unknown])
    if not known.size:
        raise InputError(f"all of its pixels are unknown ({unknown}); at least one needs a label")
    coarse = np.stack([labels == label for label in known]).astype(np.uint8) * np.uint8(255)
    if len(known) == 1:  # probabilities need a second class, which has no share anywhere
        coarse = np.concatenate([coarse, np.zeros_like(coarse)])
        known = np.append(known, known)
    return Filled(refiner.open(image, coarse, restrict=restrict), known)
