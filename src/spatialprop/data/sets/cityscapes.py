"""Cityscapes with its fine labels; the 34 ids of its files are mapped to the 19 classes that are scored."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Splits
from spatialprop.data.label_set import VOID, LabelSet
from spatialprop.data.sets.file_examples import FileExamples, ImageEntry, with_coarse_from
from spatialprop.data.sets.source import Source
from spatialprop.maskfiles import read_indices

# The official table: every id in the files, and its class; VOID is neither trained on nor scored.
TRAIN_ID = {
    0: VOID,  # unlabeled
    1: VOID,  # ego vehicle
    2: VOID,  # rectification border
    3: VOID,  # out of roi
    4: VOID,  # static
    5: VOID,  # dynamic
    6: VOID,  # ground
    7: 0,  # road
    8: 1,  # sidewalk
    9: VOID,  # parking
    10: VOID,  # rail track
    11: 2,  # building
    12: 3,  # wall
    13: 4,  # fence
    14: VOID,  # guard rail
    15: VOID,  # bridge
    16: VOID,  # tunnel
    17: 5,  # pole
    18: VOID,  # polegroup
    19: 6,  # traffic light
    20: 7,  # traffic sign
    21: 8,  # vegetation
    22: 9,  # terrain
    23: 10,  # sky
    24: 11,  # person
    25: 12,  # rider
    26: 13,  # car
    27: 14,  # truck
    28: 15,  # bus
    29: VOID,  # caravan
    30: VOID,  # trailer
    31: 16,  # train
    32: 17,  # motorcycle
    33: 18,  # bicycle
}
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
