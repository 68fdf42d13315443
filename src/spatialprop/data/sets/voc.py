"""PASCAL VOC 2012 segmentation, with or without the masks that SBD adds."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import VOID, LabelSet
from spatialprop.data.readers import checked_label
from spatialprop.data.sets.pairs import Pair, PairedImages, read_names, with_coarse_from

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
_SBD = (
    "get SBD with `spatialprop data get sbd --to DIR` and give data.sbd=DIR, "
    "or put the folder SegmentationClassAug into VOC2012; see data/voc/README.md"
)


class VOC(PairedImages):
    """A split of VOC 2012 in the layout of its archives, below `root/VOCdevkit/VOC2012`.

    `train`, `val`, `trainval` and `test` are the official lists; test images come without labels. `trainaug` is the
    official train list and all that SBD labels, without what is in the official val list: 10582 images. Official
    images keep their official masks.

    Args:
        root: The folder that holds VOCdevkit.
        split: One of train, val, trainval, trainaug, test.
        sbd: SBD's masks, for trainaug: the folder that holds SBD's own benchmark_RELEASE/dataset, or one of PNGs
            (SegmentationClassAug); None looks for both in `root`.
        coarse: A folder of coarse maps, `{train,val,test}/<name>.npz`; what is in no other official list is train.
    """

    def __init__(
        self, root: str | Path, split: str, sbd: str | Path | None = None, coarse: str | Path | None = None
    ) -> None:
        folder = voc_folder(root)
        if split not in SPLITS:
            raise ValueError(f"VOC 2012 has the splits {', '.join(SPLITS)}; got {split!r}")
        of_split = {"trainval": ("train", "val"), "trainaug": ("train",)}.get(split, (split,))
        pairs = [
            Pair(name, part, _image(folder, name), None if part == "test" else _mask(folder, name))
            for part in of_split
            for name in read_list(folder, part)
        ]
        if split == "trainaug":
            official = {*read_list(folder, "train"), *read_list(folder, "val")}
            extra = {name: mask for name, mask in _sbd_masks(Path(root), folder, sbd).items() if name not in official}
            pairs += [Pair(name, "train", _image(folder, name), mask) for name, mask in sorted(extra.items())]
        super().__init__(LABELS, with_coarse_from(pairs, coarse))

    def _label(self, pair: Pair) -> NDArray[np.uint8] | None:
        if pair.label is not None and pair.label.suffix == ".mat":
            return checked_label(pair.label, read_sbd_mask(pair.label), LABELS)
        return super()._label(pair)


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


def read_sbd_mask(path: Path) -> NDArray[np.uint8]:
    """The class map in one of SBD's .mat files. (H, W)"""
    from scipy.io import loadmat  # type: ignore[import-untyped]  # slow to import, and only this needs it

    if not path.is_file():
        raise FileNotFoundError(f"the label map {path} does not exist; {_SBD}")
    try:
        stored = loadmat(path, squeeze_me=True, struct_as_record=False, variable_names=["GTcls"])
        mask = np.asarray(stored["GTcls"].Segmentation)
    except Exception as error:  # a damaged file makes it raise anything
        raise ValueError(f"{path} cannot be read as a mask of SBD (GTcls.Segmentation): {error}; replace it") from None
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"{path} holds a mask {mask.shape} of {mask.dtype}; SBD's are (H, W) of uint8: replace it")
    return mask


def _image(folder: Path, name: str) -> Path:
    return folder / "JPEGImages" / f"{name}.jpg"


def _mask(folder: Path, name: str) -> Path:
    return folder / "SegmentationClass" / f"{name}.png"


def _sbd_masks(root: Path, folder: Path, sbd: str | Path | None) -> dict[str, Path]:
    """SBD's masks by name."""
    base = root if sbd is None else Path(sbd)
    for pngs in (base / "SegmentationClassAug", folder / "SegmentationClassAug" if sbd is None else base):
        found = {path.stem: path for path in pngs.glob("*.png")}
        if found:
            return found
    for dataset in (base / "benchmark_RELEASE" / "dataset", base / "dataset", base):
        if (dataset / "cls").is_dir():
            names = [name for part in ("train", "val") for name in read_names(dataset / f"{part}.txt", _SBD)]
            return {name: dataset / "cls" / f"{name}.mat" for name in names}
    raise FileNotFoundError(f"no masks of SBD in {base}; {_SBD}")
