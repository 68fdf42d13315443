"""Examples that need not be read or drawn twice."""

from collections.abc import Sequence

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
        if megabytes < 0:
            raise ValueError(f"memory must be 0 megabytes or more; got {megabytes}")
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
        arrays = [array for array in (example.image, example.label, example.coarse) if array is not None]
        size = sum(array.nbytes for array in arrays)
        if size <= self._room:
            for array in arrays:
                array.flags.writeable = False
            self._room -= size
            self._kept[index] = example
        return example
