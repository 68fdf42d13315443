"""Several data sets joined, each with its own classes: to train a refiner, which does not depend on classes."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from spatialprop.data.example import Example, Examples, Splits
from spatialprop.data.label_set import VOID, LabelSet
from spatialprop.data.sets.folder import folder
from spatialprop.data.sets.synthetic import synthetic


class Mixed:
    """The examples of several data sets, with the classes of all in a row.

    Args:
        parts: The data sets by name; image and class names begin with it.
        labels: The classes of all, which other splits of the same data sets share.

    Example:
        >>> from spatialprop.data import SyntheticShapes
        >>> shapes = SyntheticShapes("train", 2)
        >>> both = Mixed({"a": shapes, "b": shapes}, joined_labels({"a": shapes.labels, "b": shapes.labels}))
        >>> len(both), bool(both[3].label.min() >= len(shapes.labels.classes))
        (4, True)
    """

    def __init__(self, parts: Mapping[str, Examples], labels: LabelSet) -> None:
        self._parts = list(parts.values())
        self._prefixes = list(parts)
        self._ends = list(accumulate(map(len, self._parts)))
        self.labels = labels

    @property
    def names(self) -> Sequence[str]:
        return [
            f"{prefix}/{name}" for prefix, part in zip(self._prefixes, self._parts, strict=True) for name in part.names
        ]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        which = bisect_right(self._ends, index)
        part = self._parts[which]
        example = part[index - (self._ends[which] - len(part))]
        prefix = self._prefixes[which]
        first = self.labels.classes.index(f"{prefix}/{part.labels.classes[0]}")
        label = np.where(example.label == VOID, VOID, example.label + first).astype(np.uint8)
        coarse = None
        if example.coarse is not None:
            coarse = np.zeros((len(self.labels.classes), *example.coarse.shape[1:]), np.uint8)
            coarse[first : first + len(example.coarse)] = example.coarse
        return Example(f"{prefix}/{example.name}", example.image, label, coarse)


def joined_labels(parts: Mapping[str, LabelSet]) -> LabelSet:
    """The classes of several data sets, one after the other, each scored as in its own."""
    classes: list[str] = []
    scored: list[int] = []
    mirrored: list[tuple[int, int]] = []
    for prefix, labels in parts.items():
        first = len(classes)
        classes += [f"{prefix}/{name}" for name in labels.classes]
        scored += [first + index for index in labels.scored]
        mirrored += [(first + one, first + other) for one, other in labels.mirrored]
    return LabelSet("mixed", tuple(classes), VOID, tuple(scored), tuple(mirrored))


def mixed(*, parts: Mapping[str, Splits], train_only: Sequence[str] = ()) -> Splits:
    """Several data sets together; those in `train_only` are used neither for validation nor for testing."""
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
    """Several folders of `root` together, and `drawn` built-in images for training.

    `parts` holds the options of `folder` for each.
    """
    read = {name: folder(root=str(Path(root, name)), **dict(options)) for name, options in parts.items()}
    if drawn:
        read["drawn"] = synthetic(train=drawn, val=1, test=1, size=(256, 256), seed=0)
        train_only = [*train_only, "drawn"]
    return mixed(parts=read, train_only=train_only)
