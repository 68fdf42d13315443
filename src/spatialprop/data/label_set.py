"""The classes of a data set, and the file that names them: `dataset.json`, or `data.json` in a run's folder."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.files import write_json

_LARGEST = 1 << 24  # bytes
VOID = 255  # the label of pixels that do not count, once an example has been read


@dataclass(frozen=True)
class LabelSet:
    """The classes of a data set.

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
        broken = [name for name in (self.name, *self.classes) if name != name.encode(errors="replace").decode()]
        if broken:
            raise ValueError(f"data set {self.name!a}: the name {broken[0]!a} holds half a character; correct it")
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
        """The label in a mirror image of each of the 256 label values. (256,)"""
        values = np.arange(256, dtype=np.uint8)
        for one, other in self.mirrored:
            values[[one, other]] = other, one
        return values


def write_label_set(labels: LabelSet, path: Path, **more: Any) -> None:
    """Write the classes, and whatever else is to stand beside them, as JSON."""
    write_json(path, asdict(labels) | more)


def read_label_set(path: Path) -> LabelSet:
    """Read the classes that `write_label_set`, or a user, has written; all but `classes` may be left out."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; it must hold the data set's classes, such as "
            '{"name": "pets", "classes": ["background", "cat"], "ignore_index": 255}'
        )
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"it has {path.stat().st_size} bytes, at most {_LARGEST} are read")
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict) or not isinstance(fields["classes"], list):
            raise TypeError("it must be an object with a list of class names under `classes`")
        scored = fields.get("scored_classes")
        return LabelSet(
            name=str(fields.get("name", path.parent.name)),
            classes=tuple(str(name) for name in fields["classes"]),
            ignore_index=fields.get("ignore_index"),
            scored_classes=None if scored is None else tuple(int(index) for index in scored),
            mirrored=tuple((int(one), int(other)) for one, other in fields.get("mirrored", ())),
        )
    except KeyError as missing:
        raise ValueError(f"{path} lacks the key {missing}") from None
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
