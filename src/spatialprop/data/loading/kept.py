"""Examples that need not be read or drawn twice."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Example, Examples, LabelSet


class Kept:
    """Examples that stay in memory once they have been asked for, as long as there is room.

    Those that came first stay: where patches come in a new order each epoch, to put out the oldest would put out what
    is asked for next as often as not. Their arrays can no longer be written to.

    Args:
        examples: What is kept.
        megabytes: Room for the arrays, in each process.

    Example:
        >>> from spatialprop.data import SyntheticShapes
        >>> kept = Kept(SyntheticShapes("train", 2), megabytes=1)
        >>> kept[0] is kept[0]
        True
    """

    def __init__(self, examples: Examples, megabytes: int) -> None:
        if not isinstance(megabytes, int) or megabytes < 0:
            raise ValueError(f"memory must be a whole number of megabytes, 0 for none; got {megabytes!r}")
        self.examples = examples
        self._room = megabytes * 10**6
        self._kept: dict[int, Example] = {}

    @property
    def labels(self) -> LabelSet:
        return self.examples.labels

    @property
    def names(self) -> Sequence[str]:
        return self.examples.names

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        if index in self._kept:
            return self._kept[index]
        example = self.examples[index]
        size = sum(array.nbytes for array in (example.image, example.label, example.coarse) if array is not None)
        if size > self._room:
            return example
        coarse = None if example.coarse is None else _read_only(example.coarse)
        self._room -= size
        self._kept[index] = Example(example.name, _read_only(example.image), _read_only(example.label), coarse)
        return self._kept[index]


def _read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    view = array.view()
    view.flags.writeable = False
    return view
