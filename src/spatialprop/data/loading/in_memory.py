"""Examples that need not be read or drawn twice."""

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Example, Examples


class InMemory:
    """Examples that stay in memory once they have been asked for, until the memory is full.

    The first ones stay: where each epoch has another order, dropping the oldest would drop what is asked for next as
    often as not. Arrays in memory are read-only.

    Args:
        examples: The examples.
        megabytes: Memory for the arrays, in each process.

    Example:
        >>> from spatialprop.data import SyntheticShapes
        >>> examples = InMemory(SyntheticShapes("train", 2), megabytes=1)
        >>> examples[0] is examples[0]
        True
    """

    def __init__(self, examples: Examples, megabytes: int) -> None:
        if not isinstance(megabytes, int) or megabytes < 0:
            raise ValueError(f"memory must be a whole number of megabytes, 0 for none; got {megabytes!r}")
        self.labels = examples.labels
        self.names = examples.names
        self._examples = examples
        self._free = megabytes * 10**6  # bytes
        self._stored: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        if index in self._stored:
            return self._stored[index]
        example = self._examples[index]
        size = sum(array.nbytes for array in (example.image, example.label, example.coarse) if array is not None)
        if size > self._free:
            return example
        coarse = None if example.coarse is None else _read_only(example.coarse)
        self._free -= size
        self._stored[index] = Example(example.name, _read_only(example.image), _read_only(example.label), coarse)
        return self._stored[index]


def _read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    view = array.view()
    view.flags.writeable = False
    return view
