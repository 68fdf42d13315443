"""The data sets that configs name, as train, val and test."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from spatialprop.data.example import Examples, LabelSet
from spatialprop.data.folder import ImageFolder
from spatialprop.data.synthetic import SyntheticShapes


class Splits(NamedTuple):
    """What to train on, what to choose by, and what to report."""

    train: Examples
    val: Examples
    test: Examples

    @property
    def labels(self) -> LabelSet:
        return self.train.labels


def synthetic(*, train: int, val: int, test: int, size: Sequence[int], seed: int) -> Splits:
    """So many built-in images for each split, all of one size (H, W)."""
    for name, count in (("train", train), ("val", val), ("test", test)):
        if count < 1:
            raise ValueError(f"data.{name} must be at least 1 image; got {count}")
    height, width = size
    return Splits(
        SyntheticShapes("train", train, seed, (height, width)),
        SyntheticShapes("val", val, seed, (height, width)),
        SyntheticShapes("test", test, seed, (height, width)),
    )


def folder(
    *,
    root: str,
    train_splits: Sequence[str] = ("train",),
    val_splits: Sequence[str] = ("val",),
    test_splits: Sequence[str] | None = None,
) -> Splits:
    """The folders of `root`; what is tested on, unless named, is `test` if there is one, or else what `val` holds."""
    if test_splits is None:
        test_splits = ("test",) if (Path(root) / "test" / "images").is_dir() else val_splits
    return Splits(*(ImageFolder(root, names) for names in (train_splits, val_splits, test_splits)))
