"""A data set of one's own: a folder of images, labels and, optionally, coarse maps of a segmenter."""

from collections.abc import Sequence
from pathlib import Path

from spatialprop.data.example import Splits
from spatialprop.data.label_set import read_label_set
from spatialprop.data.sets.file_examples import FileExamples, ImageEntry, Listing, with_coarse_from
from spatialprop.data.sets.source import Source
from spatialprop.maskfiles import IMAGE_SUFFIXES

SOURCE = Source(
    page="data/folder/README.md",
    terms="yours",
    steps=("put images, labels and dataset.json into {root} as that page says",),
    check="spatialprop data check folder root={root}",
)


class ImageFolder(FileExamples):
    """The images of some splits of `root/{split}/{images,labels[,coarse]}`, with `root/dataset.json` beside.

    Labels are PNGs, 8-bit grey or palette, whose values are class indices. Coarse maps are `.npz` (key `probs`) or
    `.npy` with probabilities (K, h, w), as floats or as bytes x 255, at any resolution that covers the whole image,
    or `.png` with class indices.

    Args:
        root: The data set's folder.
        splits: Folders under it, joined in this order.
        coarse: Take coarse maps from `coarse/{split}/` rather than `root/{split}/coarse/`.
    """

    def __init__(self, root: str | Path, splits: Sequence[str], coarse: str | Path | None = None) -> None:
        self.root = Path(root)
        labels = read_label_set(self.root / "dataset.json")
        if not splits:
            raise ValueError(f"give at least one split of {self.root}; those found are {_found(self.root)}")
        names = [splits] if isinstance(splits, str) else splits
        entries = [entry for split in names for entry in _entries(self.root, split)]
        used = {entry.label for entry in entries}
        maps = (path for split in names for path in sorted((self.root / split / "labels").glob("*.png")))
        super().__init__(labels, with_coarse_from(entries, coarse), [path for path in maps if path not in used])


def images_in(folder: Path) -> list[Path]:
    """The images in a folder, in the order of their names; at least one."""
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        raise FileNotFoundError(f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _found(root: Path) -> str:
    return ", ".join(sorted(path.parent.name for path in root.glob("*/images"))) or "none"


def _entries(root: Path, split: str) -> list[ImageEntry]:
    folder, listing = root / split, Listing()
    if not (folder / "images").is_dir():
        raise FileNotFoundError(f"{folder / 'images'} does not exist; splits found in {root}: {_found(root)}")
    return [
        ImageEntry(
            image.stem,
            split,
            image,
            folder / "labels" / f"{image.stem}.png",
            listing.coarse(folder / "coarse", image.stem),
        )
        for image in images_in(folder / "images")
    ]


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

    Unless `test_splits` are given, the test split is `test` if it exists, else `val`.
    """
    if part is not None:
        root = str(Path(root, part))
    if test_splits is None:
        test_splits = ("test",) if (Path(root) / "test" / "images").is_dir() else val_splits
    return Splits(*(ImageFolder(root, names, coarse) for names in (train_splits, val_splits, test_splits)))
