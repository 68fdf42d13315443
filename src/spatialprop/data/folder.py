"""Anybody's data set: a folder of images, labels and, if there are any, a segmenter's coarse maps."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.data.example import VOID, Example, LabelSet

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
COARSE_SUFFIXES = (".npz", ".npy", ".png")


class ImageFolder:
    """The images of some splits of `root/{split}/{images,labels[,coarse]}`, with `root/dataset.json` beside.

    Labels are PNGs, 8-bit grey or palette, whose values are class indices. Coarse maps are `.npz` (key `probs`) or
    `.npy` with probabilities (K, h, w), as floats or as bytes x 255, at any resolution that covers the whole image,
    or `.png` with class indices.

    Args:
        root: The data set's folder.
        splits: Folders under it, joined in this order.
    """

    def __init__(self, root: str | Path, splits: Sequence[str]) -> None:
        self.root = Path(root)
        self.labels = read_label_set(self.root / "dataset.json")
        if not splits:
            raise ValueError(f"give at least one split of {self.root}; those found are {_found(self.root)}")
        self._entries: list[tuple[str, Path, Path, Path | None]] = []  # (name, image, label, coarse)
        for split in [splits] if isinstance(splits, str) else splits:
            self._entries += _entries(self.root, split)
        _check_names(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self._entries]

    @property
    def without_coarse(self) -> list[str]:
        """Names of the images that have no coarse map."""
        return [name for name, _, _, coarse in self._entries if coarse is None]

    def __getitem__(self, index: int) -> Example:
        name, image_path, label_path, coarse_path = self._entries[index]
        image = read_image(image_path)
        label = read_label(label_path, self.labels)
        if image.shape[:2] != label.shape:
            raise ValueError(
                f"{label_path} is {label.shape[1]}x{label.shape[0]} but its image {image_path} is "
                f"{image.shape[1]}x{image.shape[0]}; both must have one size"
            )
        coarse = None if coarse_path is None else read_coarse(coarse_path, self.labels)
        return Example(name, image, label, coarse)


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
        )
    except KeyError as missing:
        raise ValueError(f"{path} lacks the key {missing}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image as RGB. (H, W, 3)"""
    try:
        with Image.open(path) as image:
            mode = image.mode
            pixels = np.array(image.convert("RGB"))
    except Exception as error:  # a damaged file makes decoders raise anything
        raise ValueError(f"{path} cannot be read as an image: {error}; replace it") from None
    if mode.startswith(("I", "F")):
        raise ValueError(f"{path} is stored in mode {mode!r}; convert it to 8 bits a channel")
    return pixels


def read_label(path: Path, labels: LabelSet) -> NDArray[np.uint8]:
    """Read a label map, with VOID where the data set's ignore value stands. (H, W)"""
    indices = _read_indices(path)
    void = np.zeros_like(indices, bool) if labels.ignore_index is None else indices == labels.ignore_index
    _check_indices(path, indices[~void], labels)
    return np.where(void, VOID, indices).astype(np.uint8)


def read_coarse(path: Path, labels: LabelSet) -> NDArray[np.uint8]:
    """Read a coarse map as probabilities x 255. (K, h, w)"""
    classes = len(labels.classes)
    if path.suffix == ".png":
        indices = _read_indices(path)
        _check_indices(path, indices, labels)
        return np.stack([np.where(indices == value, 255, 0).astype(np.uint8) for value in range(classes)])
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            probabilities = stored["probs"] if isinstance(stored, np.lib.npyio.NpzFile) else stored
    except KeyError:
        raise ValueError(f"{path} has no array `probs`; save it with np.savez_compressed(path, probs=...)") from None
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a coarse map: {error}; write it again") from None
    if probabilities.ndim != 3 or probabilities.shape[0] != classes or 0 in probabilities.shape:
        raise ValueError(
            f"{path} has shape {probabilities.shape}; a coarse map of {labels.name!r} needs ({classes}, h, w): "
            f"one map for each class in dataset.json"
        )
    if probabilities.dtype == np.uint8:
        return probabilities.astype(np.uint8, copy=False)
    if not np.issubdtype(probabilities.dtype, np.floating):
        raise ValueError(f"{path} has dtype {probabilities.dtype}; store floats from 0 to 1, or uint8 x 255")
    if not (probabilities.min() >= 0 and probabilities.max() <= 1 + 1e-3):  # NaN fails too
        raise ValueError(
            f"{path} holds values from {probabilities.min():.3g} to {probabilities.max():.3g}; "
            f"write probabilities from 0 to 1, such as a softmax gives"
        )
    return np.asarray(np.rint(np.minimum(probabilities, 1) * 255), np.uint8)


def _read_indices(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            mode = image.mode
            indices = np.asarray(image)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a label map: {error}; replace it") from None
    if mode not in ("L", "P", "1"):
        raise ValueError(
            f"{path} is stored in mode {mode!r}; labels must be an 8-bit grey or palette PNG of class indices, "
            f"not colours: write the indices"
        )
    return indices.astype(np.uint8)


def _check_indices(path: Path, indices: NDArray[np.uint8], labels: LabelSet) -> None:
    highest = int(indices.max(initial=0))
    if highest >= len(labels.classes):
        raise ValueError(
            f"{path} holds the label {highest}; {labels.name!r} has the classes 0 to {len(labels.classes) - 1} and "
            f"ignore_index = {labels.ignore_index}; correct the file, or classes and ignore_index in dataset.json"
        )


def _found(root: Path) -> str:
    return ", ".join(sorted(path.parent.name for path in root.glob("*/images"))) or "none"


def _check_names(entries: list[tuple[str, Path, Path, Path | None]]) -> None:
    """Coarse maps and predictions are kept by name, so a second image of a name would get those of the first."""
    first: dict[str, Path] = {}
    for name, image, *_ in entries:
        if name in first:
            raise ValueError(f"{first[name]} and {image} have one name, {name!r}; rename one, its label and coarse map")
        first[name] = image


def _entries(root: Path, split: str) -> list[tuple[str, Path, Path, Path | None]]:
    folder = root / split
    if not (folder / "images").is_dir():
        raise FileNotFoundError(f"{folder / 'images'} does not exist; splits found in {root}: {_found(root)}")
    entries = []
    for image in sorted((folder / "images").iterdir()):
        if image.suffix.lower() not in IMAGE_SUFFIXES or image.name.startswith("."):
            continue
        label = folder / "labels" / f"{image.stem}.png"
        if not label.is_file():
            raise FileNotFoundError(f"{label} does not exist; every image in {folder / 'images'} needs its label map")
        candidates = [folder / "coarse" / f"{image.stem}{suffix}" for suffix in COARSE_SUFFIXES]
        coarse = next((path for path in candidates if path.is_file()), None)
        entries.append((image.stem, image, label, coarse))
    if not entries:
        raise FileNotFoundError(f"{folder / 'images'} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return entries
