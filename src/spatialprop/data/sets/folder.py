"""Anybody's data set: a folder of images, labels and, if there are any, a segmenter's coarse maps."""

import json
from collections.abc import Sequence
from pathlib import Path

from spatialprop.data.example import LabelSet
from spatialprop.data.sets.pairs import Listing, Pair, PairedImages, with_coarse_from
from spatialprop.maskfiles import IMAGE_SUFFIXES


class ImageFolder(PairedImages):
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
        pairs = [pair for split in names for pair in _pairs(self.root, split)]
        unused = [path for split in names for path in _unused(self.root / split, pairs)]
        super().__init__(labels, with_coarse_from(pairs, coarse), unused)


def read_label_set(path: Path) -> LabelSet:
    """Read a data set's `dataset.json`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; it must hold the data set's classes, such as "
            '{"name": "pets", "classes": ["background", "cat"], "ignore_index": 255}'
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict) or not isinstance(fields["classes"], list):
            raise TypeError("it must be an object with a list of classes")
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
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


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


def _pairs(root: Path, split: str) -> list[Pair]:
    folder, listing = root / split, Listing()
    if not (folder / "images").is_dir():
        raise FileNotFoundError(f"{folder / 'images'} does not exist; splits found in {root}: {_found(root)}")
    return [
        Pair(
            image.stem,
            split,
            image,
            folder / "labels" / f"{image.stem}.png",
            listing.coarse(folder / "coarse", image.stem),
        )
        for image in images_in(folder / "images")
    ]


def _unused(folder: Path, pairs: Sequence[Pair]) -> list[Path]:
    """Label maps in a split's folder that no image belongs to."""
    used = {pair.label for pair in pairs}
    return [path for path in sorted((folder / "labels").glob("*.png")) if path not in used]
