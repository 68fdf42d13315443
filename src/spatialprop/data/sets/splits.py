"""The data sets that configs name, as train, val and test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spatialprop.data.example import Examples, LabelSet
from spatialprop.data.sets.alignment import COLUMNS
from spatialprop.data.sets.camvid import CamVid
from spatialprop.data.sets.cityscapes import Cityscapes
from spatialprop.data.sets.folder import ImageFolder
from spatialprop.data.sets.helen import Helen
from spatialprop.data.sets.mixed import Mixed, joined_labels
from spatialprop.data.sets.synthetic import SyntheticShapes
from spatialprop.data.sets.voc import VOC

DRAWN = "drawn"  # the part of built-in images beside folders


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
    part: str | None = None,
    train_splits: Sequence[str] = ("train",),
    val_splits: Sequence[str] = ("val",),
    test_splits: Sequence[str] | None = None,
    coarse: str | None = None,
) -> Splits:
    """The folders of `root`, or of its folder `part`.

    What is tested on, unless named, is `test` if there is one, or else what `val` holds.
    """
    if part is not None:
        root = str(Path(root, part))
    if test_splits is None:
        test_splits = ("test",) if (Path(root) / "test" / "images").is_dir() else val_splits
    return Splits(*(ImageFolder(root, names, coarse) for names in (train_splits, val_splits, test_splits)))


def mixed(*, parts: Mapping[str, Splits], train_only: Sequence[str] = ()) -> Splits:
    """Several data sets together; those that `train_only` names are neither validated nor tested on."""
    labels = joined_labels({name: splits.labels for name, splits in parts.items()})
    unknown = sorted(set(train_only) - set(parts))
    scored = {name: splits for name, splits in parts.items() if name not in train_only}
    if unknown or not scored:
        raise ValueError(
            f"data.train_only must name some of the parts {', '.join(parts)}, and leave one to validate on; "
            f"got {', '.join(train_only)}"
        )
    return Splits(
        Mixed({name: splits.train for name, splits in parts.items()}, labels),
        Mixed({name: splits.val for name, splits in scored.items()}, labels),
        Mixed({name: splits.test for name, splits in scored.items()}, labels),
    )


def folders(
    *, root: str, parts: Mapping[str, Mapping[str, Any]], train_only: Sequence[str] = (), drawn: int = 0
) -> Splits:
    """Several folders of `root` together, and so many `drawn` images to train on beside them.

    `parts` holds the options of `folder` for each.
    """
    read = {name: folder(root=str(Path(root, name)), **dict(options)) for name, options in parts.items()}
    if drawn:
        read[DRAWN] = synthetic(train=drawn, val=1, test=1, size=(256, 256), seed=0)
        train_only = [*train_only, DRAWN]
    return mixed(parts=read, train_only=train_only)


def voc(
    *,
    root: str,
    train_split: str = "train",
    val_split: str = "val",
    test_split: str = "val",
    sbd: str | None = None,
    coarse: str | None = None,
) -> Splits:
    """PASCAL VOC 2012; `train_split=trainaug` adds the masks of SBD, `test_split=test` has no labels to score by."""
    return Splits(*(VOC(root, split, sbd, coarse) for split in (train_split, val_split, test_split)))


def helen(
    *,
    root: str,
    points: str | None = None,
    align: bool = True,
    size: int | None = 1024,
    shape: Sequence[Sequence[float]] | None = None,
    coarse: str | None = None,
) -> Splits:
    """HELEN's three official lists, aligned by the key points in a file."""
    if align and points is None:
        raise ValueError(
            f"HELEN's faces are aligned by five key points: give them as data.points=FILE, a CSV file with the columns "
            f"{','.join(COLUMNS)}, one line for each image (any face detector that marks eyes, nose and corners of the "
            f"mouth makes them; left and right are the picture's), or leave the faces unaligned: data.align=false"
        )
    used = points if align else None
    return Splits(
        *(
            Helen(root, split, size=size, points=used, shape=shape, coarse=coarse)
            for split in ("exemplars", "tuning", "testing")
        )
    )


def camvid(*, root: str, test_split: str = "test", coarse: str | None = None) -> Splits:
    """CamVid in the layout of the SegNet tutorial."""
    return Splits(*(CamVid(root, split, coarse) for split in ("train", "val", test_split)))


def cityscapes(*, root: str, test_split: str = "val", coarse: str | None = None) -> Splits:
    """Cityscapes with its fine labels; those of `test_split=test` are kept back."""
    return Splits(*(Cityscapes(root, split, coarse) for split in ("train", "val", test_split)))
