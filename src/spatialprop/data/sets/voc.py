"""PASCAL VOC 2012 segmentation, with or without the masks that SBD adds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Splits
from spatialprop.data.label_files import checked_label
from spatialprop.data.label_set import VOID, LabelSet
from spatialprop.data.sets.file_examples import FileExamples, ImageEntry, read_names, with_coarse_from
from spatialprop.data.sets.sbd import read_sbd_mask, sbd_masks
from spatialprop.data.sets.source import Archive, Source
from spatialprop.download import Checksum

LABELS = LabelSet(
    "voc",
    (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    ignore_index=VOID,
)  # fmt: skip
SPLITS = ("train", "val", "trainval", "trainaug", "test")
_GET = "get it with `spatialprop data get voc --to DIR` and give that folder as data.root=DIR"
_TEST = "the test images and their list are in VOC2012test.tar of the evaluation server, see data/voc/README.md"
SOURCE = Source(
    page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    terms="research; the photographs are Flickr's, under Flickr's terms of use",
    archives=(
        Archive(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            Checksum("md5", "6cd6e144f989b92b3379bac3b3de84fd"),
        ),
    ),
    steps=(
        "only for the test split: register at http://host.robots.ox.ac.uk:8080, download VOC2012test.tar there and "
        "unpack it into {root}",
        "only for the masks of SBD: spatialprop data get sbd --to {root}",
    ),
    check="spatialprop data check voc root={root}",
)


class VOC(FileExamples):
    """A split of VOC 2012 in the layout of its archives, below `root/VOCdevkit/VOC2012`.

    `train`, `val`, `trainval` and `test` are the official lists; test images come without labels. `trainaug` is the
    official train list and all images of SBD that are not in the official val list: 10582 images. Images of the
    official lists have their official masks.

    Args:
        root: The folder that holds VOCdevkit.
        split: One of train, val, trainval, trainaug, test.
        sbd: SBD's masks, for trainaug: the folder that holds SBD's own benchmark_RELEASE/dataset, or one of PNGs
            (SegmentationClassAug); None looks for both in `root`.
        coarse: A folder of coarse maps, `{train,val,test}/<name>.npz`; images of SBD alone are in train.
    """

    def __init__(
        self, root: str | Path, split: str, sbd: str | Path | None = None, coarse: str | Path | None = None
    ) -> None:
        folder = voc_folder(root)
        if split not in SPLITS:
            raise ValueError(f"VOC 2012 has the splits {', '.join(SPLITS)}; got {split!r}")
        of_split = {"trainval": ("train", "val"), "trainaug": ("train",)}.get(split, (split,))
        entries = [
            ImageEntry(name, part, _image(folder, name), None if part == "test" else _mask(folder, name))
            for part in of_split
            for name in read_list(folder, part)
        ]
        if split == "trainaug":
            official = {*read_list(folder, "train"), *read_list(folder, "val")}
            extra = {name: mask for name, mask in sbd_masks(Path(root), folder, sbd).items() if name not in official}
            entries += [ImageEntry(name, "train", _image(folder, name), mask) for name, mask in sorted(extra.items())]
        super().__init__(LABELS, with_coarse_from(entries, coarse))

    def _label(self, entry: ImageEntry) -> NDArray[np.uint8] | None:
        if entry.label is not None and entry.label.suffix == ".mat":
            return checked_label(entry.label, read_sbd_mask(entry.label), LABELS)
        return super()._label(entry)


def voc_folder(root: str | Path) -> Path:
    """The folder VOC2012 in `root`, which may be that folder itself."""
    candidates = [Path(root) / "VOCdevkit" / "VOC2012", Path(root) / "VOC2012", Path(root)]
    for folder in candidates:
        if (folder / "ImageSets" / "Segmentation").is_dir():
            return folder
    raise FileNotFoundError(f"{candidates[0] / 'ImageSets' / 'Segmentation'} does not exist; {_GET}")


def read_list(folder: Path, part: str) -> list[str]:
    """The names of an official list."""
    return read_names(folder / "ImageSets" / "Segmentation" / f"{part}.txt", _TEST if part == "test" else _GET)


def _image(folder: Path, name: str) -> Path:
    return folder / "JPEGImages" / f"{name}.jpg"


def _mask(folder: Path, name: str) -> Path:
    return folder / "SegmentationClass" / f"{name}.png"


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
