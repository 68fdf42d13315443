"""Images of which some values are known, and the protocols that their data sets follow."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.label_set import LabelSet


class ValueExample(NamedTuple):
    """One image, what is known of a map of values, and the whole map."""

    name: str
    image: NDArray[np.float32]  # (I, H, W), from 0 to 1
    values: NDArray[np.float32]  # (C, H, W), counted where the confidence is above 0
    confidence: NDArray[np.float32]  # (1, H, W), from 0 to 1
    truth: NDArray[np.float32]  # (C, H, W)
    group: str = ""  # by which scores are told apart, such as a number of hints


class ValueExamples(Protocol):
    """Images to validate or test on, always the same ones."""

    @property
    def labels(self) -> LabelSet: ...  # the data set's name and, as its classes, the names of the channels

    @property
    def names(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ValueExample: ...


class ValuePatches(Protocol):
    """Patches to train on: one for each state of a random number generator, all of one size."""

    @property
    def labels(self) -> LabelSet: ...

    def __len__(self) -> int: ...  # patches that are called an epoch

    def draw(self, rng: np.random.Generator) -> ValueExample: ...


class ValueSplits(NamedTuple):
    """The patches to train on, and the images to choose checkpoints by and to report scores on."""

    train: ValuePatches
    val: ValueExamples
    test: ValueExamples

    @property
    def labels(self) -> LabelSet:
        return self.train.labels
