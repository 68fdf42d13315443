"""Labelled images, and the protocol that every data set follows."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.label_set import LabelSet


class Example(NamedTuple):
    """One labelled image as it comes from the disk."""

    name: str
    image: NDArray[np.uint8]  # (H, W, 3), RGB
    label: NDArray[np.uint8]  # (H, W), VOID where nothing counts
    coarse: NDArray[np.uint8] | None = None  # (K, h, w), probability x 255, covering the whole image


class Examples(Protocol):
    """A sequence of labelled images with one set of classes."""

    @property
    def labels(self) -> LabelSet: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    @property
    def names(self) -> Sequence[str]: ...


class Splits(NamedTuple):
    """The images to train on, to choose checkpoints by, and to report scores on."""

    train: Examples
    val: Examples
    test: Examples

    @property
    def labels(self) -> LabelSet:
        return self.train.labels

    @property
    def distinct(self) -> dict[str, Examples]:
        """The splits by name, without `test` where it holds the same images as `val`."""
        return {
            name: examples
            for name, examples in self._asdict().items()
            if name != "test" or list(examples.names) != list(self.val.names)
        }
