"""What every data set is made of: labelled images, and the classes of their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

VOID = 255  # what pixels that do not count are labelled once an example has been read


@dataclass(frozen=True)
class LabelSet:
    """The classes that a data set's labels mean.

    Args:
        name: The data set's name.
        classes: Class names; a label is an index into them.
        ignore_index: The label that files give to pixels that do not count, None if there is none.
        scored_classes: The classes that means over classes are taken over, None for all.
        mirrored: Pairs of classes that change places in a mirror image, such as left and right eye.

    Example:
        >>> LabelSet("pets", ("background", "cat", "dog"), ignore_index=255).scored
        (0, 1, 2)
    """

    name: str
    classes: tuple[str, ...]
    ignore_index: int | None = None
    scored_classes: tuple[int, ...] | None = None
    mirrored: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= VOID:
            raise ValueError(f"data set {self.name!r} must have 1 to {VOID} classes; got {len(self.classes)}")
        if len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"data set {self.name!r} has two classes called {twice!r}; give each a name of its own")
        if self.ignore_index is not None and 0 <= self.ignore_index < len(self.classes):
            raise ValueError(
                f"data set {self.name!r}: ignore_index = {self.ignore_index} is the class "
                f"{self.classes[self.ignore_index]!r}; take a value of {len(self.classes)} or more, or null for none"
            )
        unknown = [index for index in self.scored if not 0 <= index < len(self.classes)]
        if unknown or not self.scored:
            raise ValueError(
                f"data set {self.name!r}: scored_classes must be indices from 0 to {len(self.classes) - 1}, "
                f"at least one; got {self.scored_classes}"
            )
        paired = [index for pair in self.mirrored for index in pair]
        if len(set(paired)) < len(paired) or not set(paired) <= set(range(len(self.classes))):
            raise ValueError(
                f"data set {self.name!r}: mirrored must be pairs of classes from 0 to {len(self.classes) - 1}, each in "
                f"one pair at most; got {self.mirrored}"
            )

    @property
    def scored(self) -> tuple[int, ...]:
        return tuple(range(len(self.classes))) if self.scored_classes is None else self.scored_classes

    @property
    def in_mirror(self) -> NDArray[np.uint8]:
        """What each of the 256 label values is in a mirror image. (256,)"""
        values = np.arange(256, dtype=np.uint8)
        for one, other in self.mirrored:
            values[[one, other]] = other, one
        return values

    @property
    def palette(self) -> NDArray[np.uint8]:
        """A colour for each of the 256 label values, as PASCAL VOC draws them. (256, 3)"""
        values = np.arange(256)
        colours = np.zeros((256, 3), np.uint8)
        for bit in range(8):
            for channel in range(3):
                colours[:, channel] |= (((values >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
        return colours


class Example(NamedTuple):
    """One labelled image, as it comes from the disk."""

    name: str
    image: NDArray[np.uint8]  # (H, W, 3), RGB
    label: NDArray[np.uint8]  # (H, W), VOID where nothing counts
    coarse: NDArray[np.uint8] | None = None  # (K, h, w), probability x 255, covering the whole image


class Examples(Protocol):
    """A sequence of labelled images that all mean the same classes."""

    @property
    def labels(self) -> LabelSet: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    @property
    def names(self) -> Sequence[str]: ...
