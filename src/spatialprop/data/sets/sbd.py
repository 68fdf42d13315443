"""The masks that SBD (Hariharan et al., 2011) adds to PASCAL VOC."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.sets.file_examples import read_names
from spatialprop.data.sets.source import Archive, Source
from spatialprop.download import Checksum

SOURCE = Source(
    page="http://home.bharathh.info/pubs/codes/SBD/download.html",
    terms="research; the photographs are those of PASCAL VOC",
    archives=(
        Archive(
            "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
            Checksum("md5", "82b4d87ceb2ed10f6038a1cba92111cb"),
        ),
    ),
    check="spatialprop data check voc root=<folder of VOC> train_split=trainaug sbd={root}",
)
_SBD = (
    "get SBD with `spatialprop data get sbd --to DIR` and give data.sbd=DIR, "
    "or put the folder SegmentationClassAug into VOC2012; see data/voc/README.md"
)


def read_sbd_mask(path: Path) -> NDArray[np.uint8]:
    """The class map in one of SBD's .mat files. (H, W)"""
    from scipy.io import loadmat  # slow to import, and only this needs it

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


def sbd_masks(root: Path, folder: Path, sbd: str | Path | None) -> dict[str, Path]:
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
