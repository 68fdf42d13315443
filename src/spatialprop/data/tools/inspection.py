"""Inspection of a split: its images, classes and problems."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Example, Examples
from spatialprop.data.label_set import VOID
from spatialprop.data.sets.file_examples import FileExamples


@dataclass
class SplitReport:
    """Counts over a split.

    Args:
        images: Images in the split.
        sizes: Images by height and width; broken ones are in none.
        pixels: Pixels of each label value. (256,)
        images_with: Images that hold each label value. (256,)
        with_coarse: Images that have a coarse map.
        problems: All problems, each with the file's name.
    """

    images: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    images_with: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    with_coarse: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def void_share(self) -> float:
        """The share of pixels that do not count, 0 where there are none."""
        return float(self.pixels[VOID] / max(1, self.pixels.sum()))

    def class_share(self, index: int) -> float:
        """The share of a class among the pixels that count."""
        return float(self.pixels[index] / max(1, self.pixels[:VOID].sum()))


def inspect_split(examples: Examples, workers: int = 4) -> Iterator[SplitReport]:
    """Read every image of a split; yield the growing report after each one.

    Args:
        examples: The split.
        workers: Threads that read files.

    Example:
        >>> from spatialprop.data import SyntheticShapes
        >>> *_, report = inspect_split(SyntheticShapes("train", 2, size=(32, 48)))
        >>> report.images, dict(report.sizes), report.problems
        (2, {(32, 48): 2}, [])
    """
    report = SplitReport()
    if isinstance(examples, FileExamples):
        report.problems += [f"{path} is the label map of no image" for path in examples.unused]
        report.with_coarse = len(examples) - len(examples.without_coarse)
    with ThreadPoolExecutor(workers) as pool:
        try:
            for size, counts, problems in pool.map(lambda index: _look_at(examples, index), range(len(examples))):
                report.images += 1
                report.problems += problems
                if size is not None:
                    report.sizes[size] += 1
                    report.pixels += counts
                    report.images_with += counts > 0
                yield report
        finally:
            pool.shutdown(cancel_futures=True)  # a caller that stops early need not wait for the rest


def _look_at(examples: Examples, index: int) -> tuple[tuple[int, int] | None, NDArray[np.int64], list[str]]:
    """Size, pixels of each label value and problems of one image, without the arrays themselves."""
    example, problems = inspect_example(examples, index)
    if example is None:
        return None, np.zeros(256, np.int64), problems
    height, width = example.label.shape
    return (height, width), np.bincount(example.label.ravel(), minlength=256), problems


def inspect_example(examples: Examples, index: int) -> tuple[Example | None, list[str]]:
    """One example, None if it cannot be read, and its problems."""
    if isinstance(examples, FileExamples):
        return examples.inspect(index)
    try:
        return examples[index], []
    except (OSError, ValueError) as error:
        return None, [f"{examples.names[index]}: {error}"]
