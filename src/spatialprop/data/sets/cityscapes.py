"""Cityscapes with its fine labels; the 34 ids of its files are mapped to the 19 classes that are scored."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Splits
from spatialprop.data.label_set import VOID, LabelSet
from spatialprop.data.sets.file_examples import FileExamples, ImageEntry, with_coarse_from
from spatialprop.data.sets.source import Source
from spatialprop.maskfiles import read_indices

# The ids in the files of the classes that are scored, in their order. All others are neither trained on nor scored: the
# surroundings of the image and the car (0 to 3), what is too rare or too vague (4 to 6, 9, 10, 14 to 16, 18, 29, 30).
_SCORED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
TRAIN_ID = dict.fromkeys(range(34), VOID) | {index: place for place, index in enumerate(_SCORED_IDS)}
LABELS = LabelSet(
    "cityscapes",
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    ignore_index=VOID,
)  # fmt: skip
SPLITS = ("train", "val", "test")
_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"
SOURCE = Source(
    page="https://www.cityscapes-dataset.com/",
    terms="research and teaching, not commercial; each user registers and agrees",
    steps=(
        "register at https://www.cityscapes-dataset.com/register/",
        "download leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
        "unpack both into {root}: it then holds leftImg8bit/ and gtFine/",
    ),
    check="spatialprop data check cityscapes root={root}",
)


class Cityscapes(FileExamples):
    """A split of Cityscapes: `leftImg8bit/{split}/{city}/*_leftImg8bit.png` and `gtFine/.../*_gtFine_labelIds.png`.

    Args:
        root: The folder that holds leftImg8bit and gtFine.
        split: train (2975 images), val (500) or test (1525, whose labels are not published: all VOID).
        coarse: A folder of coarse maps, `{train,val,test}/<city>_<sequence>_<frame>.npz`.
    """

    def __init__(self, root: str | Path, split: str, coarse: str | Path | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"Cityscapes has the splits {', '.join(SPLITS)}; got {split!r}")
        images, annotations = Path(root) / "leftImg8bit" / split, Path(root) / "gtFine" / split
        found = sorted(images.glob(f"*/*{_IMAGE}"))
        if not found:
            raise FileNotFoundError(
                f"{images} holds no <city>/*{_IMAGE}; unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip "
                f"into one folder and give it as data.root=DIR, see `spatialprop data get cityscapes`"
            )
        entries = []
        for image in found:
            name = image.name.removesuffix(_IMAGE)
            label = None if split == "test" else annotations / image.parent.name / f"{name}{_LABEL}"
            entries.append(ImageEntry(name, split, image, label))
        used = {entry.label for entry in entries}
        unused = [] if split == "test" else [path for path in annotations.glob(f"*/*{_LABEL}") if path not in used]
        super().__init__(LABELS, with_coarse_from(entries, coarse), sorted(unused))

    def _label(self, entry: ImageEntry) -> NDArray[np.uint8] | None:
        return None if entry.label is None else read_label_ids(entry.label)


def read_label_ids(path: Path) -> NDArray[np.uint8]:
    """Read a `_gtFine_labelIds.png` as train ids. (H, W)"""
    ids = read_indices(path)
    highest = int(ids.max(initial=0))
    if highest not in TRAIN_ID:
        raise ValueError(
            f"{path} holds the id {highest}; the ids of Cityscapes are 0 to {max(TRAIN_ID)}: give the official "
            f"*{_LABEL}, not one that was made into train ids already"
        )
    table = np.array([TRAIN_ID[index] for index in range(len(TRAIN_ID))], np.uint8)
    return np.asarray(table[ids], np.uint8)


def cityscapes(*, root: str, test_split: str = "val", coarse: str | None = None) -> Splits:
    """Cityscapes with its fine labels; those of `test_split=test` are not published."""
    return Splits(*(Cityscapes(root, split, coarse) for split in ("train", "val", test_split)))
