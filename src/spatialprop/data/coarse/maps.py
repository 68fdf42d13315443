"""Coarse maps of examples: computed, or read from files."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Example, Examples
from spatialprop.data.label_files import read_coarse
from spatialprop.data.label_set import LabelSet
from spatialprop.maskfiles import write_arrays


class WithCoarse:
    """Examples with the coarse maps that `coarse_of` gives.

    Example:
        >>> from spatialprop.data import SimulatedCoarse, SyntheticShapes
        >>> shapes = SyntheticShapes("train", 1)
        >>> WithCoarse(shapes, SimulatedCoarse(len(shapes.labels.classes)))[0].coarse is None
        False
    """

    def __init__(self, examples: Examples, coarse_of: Callable[[Example], NDArray[np.uint8]]) -> None:
        self.labels = examples.labels
        self.names = examples.names
        self._examples = examples
        self._coarse_of = coarse_of

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        example = self._examples[index]
        return example._replace(coarse=self._coarse_of(example))


class CoarseFiles:
    """Coarse maps in a folder, `<name>.npz` each, or `<split>/<name>.npz` where `splits` are given.

    Args:
        folder: The folder of the maps.
        labels: The classes.
        splits: The split of each image by name.
    """

    def __init__(self, folder: Path, labels: LabelSet, splits: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._labels = labels
        self._splits = splits

    def path(self, name: str) -> Path:
        folder = self._folder if self._splits is None else self._folder / self._splits[name]
        return folder / f"{name}.npz"

    def __call__(self, example: Example) -> NDArray[np.uint8]:
        return read_coarse(self.path(example.name), self._labels)

    def holds(self, name: str) -> bool:
        """Whether there is a map of an image."""
        return self.path(name).exists()

    def write(self, name: str, probabilities: NDArray[np.uint8]) -> None:
        """Write a map of probabilities x 255. (K, h, w)"""
        write_arrays(self.path(name), {"probs": probabilities})


class CoarseMemory:
    """Coarse maps in memory: what `CoarseFiles` writes to files.

    Example:
        >>> maps = CoarseMemory()
        >>> maps.write("one", np.zeros((2, 3, 4), np.uint8))
        >>> maps.holds("one"), maps.holds("another")
        (True, False)
    """

    def __init__(self) -> None:
        self._maps: dict[str, NDArray[np.uint8]] = {}

    def __call__(self, example: Example) -> NDArray[np.uint8]:
        return self._maps[example.name]

    def holds(self, name: str) -> bool:
        """Whether there is a map of an image."""
        return name in self._maps

    def write(self, name: str, probabilities: NDArray[np.uint8]) -> None:
        """Keep a map of probabilities x 255. (K, h, w)"""
        self._maps[name] = probabilities


def coarse_map(example: Example) -> NDArray[np.uint8]:
    """The coarse map of an example that must have one."""
    if example.coarse is None:
        raise FileNotFoundError(
            f"image {example.name!r} has no coarse map; put one into the folder coarse/ of its split, name the "
            f"folder of those that `spatialprop data predict` wrote (data.coarse=DIR), have it simulated "
            f"(segmenter.simulate_missing=true), or choose a segmenter that makes one (segmenter=unet)"
        )
    return example.coarse
