"""Examples that are read from files: an image, its label map and its coarse map."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Example
from spatialprop.data.label_files import COARSE_SUFFIXES, read_coarse, read_label
from spatialprop.data.label_set import VOID, LabelSet
from spatialprop.maskfiles import read_image

T = TypeVar("T")
_tolerant = ContextVar("tolerant", default=False)


class ImageEntry(NamedTuple):
    """The files of one image."""

    name: str
    split: str  # the part of the data set that it belongs to; coarse maps lie in a folder of this name
    image: Path
    label: Path | None  # None where labels are not published, as for test sets
    coarse: Path | None = None


class FileExamples:
    """Labelled images read from files; a data set lists them, and may read labels in its own way.

    Args:
        labels: The classes.
        entries: The files; each must exist.
        unused: Label files that no image belongs to.
    """

    def __init__(self, labels: LabelSet, entries: Sequence[ImageEntry], unused: Sequence[Path] = ()) -> None:
        self.labels = labels
        self.entries = tuple(entries)
        self.unused = tuple(unused)
        _check_names(self.entries)
        if not _tolerant.get():
            self._check_files()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self.entries]

    @property
    def without_coarse(self) -> list[str]:
        """Names of the images that have no coarse map."""
        return [entry.name for entry in self.entries if entry.coarse is None]

    def __getitem__(self, index: int) -> Example:
        entry = self.entries[index]
        image, label = self._join(entry, read_image(entry.image), self._label(entry))
        return Example(entry.name, image, label, self._coarse(entry))

    def inspect(self, index: int) -> tuple[Example | None, list[str]]:
        """The example, None if image or label cannot be read, and all problems with its files."""
        entry = self.entries[index]
        problems: list[str] = []

        def attempt(read: Callable[[], T]) -> T | None:
            try:
                return read()
            except (OSError, ValueError) as error:
                problems.append(str(error))
                return None

        image, coarse = attempt(lambda: read_image(entry.image)), attempt(lambda: self._coarse(entry))
        wrong = len(problems)
        label = attempt(lambda: self._label(entry))
        if image is None or len(problems) > wrong:
            return None, problems
        joined = attempt(lambda: self._join(entry, image, label))
        return None if joined is None else Example(entry.name, *joined, coarse), problems

    def files(self, entry: ImageEntry) -> list[Path]:
        """The files that must exist for an entry."""
        return [entry.image] if entry.label is None else [entry.image, entry.label]

    def _label(self, entry: ImageEntry) -> NDArray[np.uint8] | None:
        """The content of the label's file or files; None where there is no label."""
        return None if entry.label is None else read_label(entry.label, self.labels)

    def _join(
        self, entry: ImageEntry, image: NDArray[np.uint8], label: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Bring image and label to one size; an image without a label gets a label of VOID."""
        if label is None:
            return image, np.full(image.shape[:2], VOID, np.uint8)
        check_size(entry, image, label.shape)
        return image, label

    def _coarse(self, entry: ImageEntry) -> NDArray[np.uint8] | None:
        return None if entry.coarse is None else read_coarse(entry.coarse, self.labels)

    def _check_files(self) -> None:
        listing = Listing()
        missing = [path for entry in self.entries for path in self.files(entry) if not listing.has(path)]
        if missing:
            more = f" ({len(missing) - 1} missing besides)" if len(missing) > 1 else ""
            raise FileNotFoundError(
                f"{missing[0]} does not exist{more}; every image of {self.labels.name!r} needs its label map and every "
                f"label map its image: `spatialprop data check` lists all that is missing"
            )


@contextmanager
def tolerate_missing() -> Iterator[None]:
    """Open data sets although files are missing, so that all problems can be listed."""
    before = _tolerant.set(True)
    try:
        yield
    finally:
        _tolerant.reset(before)


class Listing:
    """Which files exist, with each folder listed once: asking for thousands of files one by one is slow on a network.

    Example:
        >>> Listing().has(Path("nowhere/at_all.png"))
        False
    """

    def __init__(self) -> None:
        self._known: dict[Path, frozenset[str]] = {}

    def has(self, path: Path) -> bool:
        return path.name in self.names(path.parent)

    def names(self, folder: Path) -> frozenset[str]:
        """Names in a folder, none if there is no such folder."""
        if folder not in self._known:
            self._known[folder] = frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()
        return self._known[folder]

    def coarse(self, folder: Path, name: str) -> Path | None:
        """The coarse map of an image in a folder, None if there is none."""
        candidates = (folder / f"{name}{suffix}" for suffix in COARSE_SUFFIXES)
        return next((path for path in candidates if self.has(path)), None)


def with_coarse_from(entries: Iterable[ImageEntry], coarse: str | Path | None) -> list[ImageEntry]:
    """Pairs with the coarse maps in `coarse/<split>/<name>.npz` (or `.npy`, `.png`), where there is one."""
    if coarse is None:
        return list(entries)
    root, listing = Path(coarse), Listing()
    if not root.is_dir():
        raise FileNotFoundError(
            f"data.coarse = {root} is no folder; put coarse maps there as <split>/<name>.npz, "
            f"as `spatialprop data predict ... --to {root}` writes them"
        )
    return [entry._replace(coarse=listing.coarse(root / entry.split, entry.name)) for entry in entries]


def check_size(entry: ImageEntry, image: NDArray[np.uint8], size: Sequence[int]) -> None:
    """Raise unless a label of `size` (H, W) fits its image."""
    if image.shape[:2] != tuple(size):
        raise ValueError(
            f"{entry.label} is {size[1]}x{size[0]} but its image {entry.image} is "
            f"{image.shape[1]}x{image.shape[0]}; both must have one size"
        )


def read_names(path: Path, fix: str) -> list[str]:
    """The first word of each line of a list of images, each once."""
    if not path.is_file():
        raise FileNotFoundError(f"the list {path} does not exist; {fix}")
    names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"the list {path} is empty; {fix}")
    return names


def _check_names(entries: Sequence[ImageEntry]) -> None:
    """Refuse two images of one name: coarse maps and predictions are stored by name."""
    first: dict[str, Path] = {}
    for entry in entries:
        if entry.name in first:
            raise ValueError(
                f"{first[entry.name]} and {entry.image} have one name, {entry.name!r}; "
                f"rename one, its label and coarse map"
            )
        first[entry.name] = entry.image
