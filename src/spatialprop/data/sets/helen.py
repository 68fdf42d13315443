"""HELEN with the label maps of Smith et al., aligned by five key points."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatialprop.data.example import Splits
from spatialprop.data.label_set import LabelSet
from spatialprop.data.sets.alignment import (
    COLUMNS,
    KEY_POINTS,
    Points,
    Similarity,
    centred,
    classes_of,
    mean_shape,
    outside,
    read_key_points,
    similarity,
    warp,
)
from spatialprop.data.sets.file_examples import FileExamples, ImageEntry, check_size, with_coarse_from
from spatialprop.data.sets.source import Source
from spatialprop.maskfiles import read_indices

# In the order of the files <name>_lbl00.png to <name>_lbl10.png, which `spatialprop.metrics.helen` scores by.
LABELS = LabelSet(
    "helen",
    (
        "background", "skin", "left brow", "right brow", "left eye", "right eye", "nose", "upper lip", "inner mouth",
        "lower lip", "hair",
    ),
    mirrored=((2, 3), (4, 5)),
)  # fmt: skip
SPLITS = ("exemplars", "tuning", "testing")  # 2000, 230 and 100 images
SOURCE = Source(
    page="https://pages.cs.wisc.edu/~lizhang/projects/face-parsing/",
    terms="research; photographs of HELEN (http://www.ifp.illinois.edu/~vuongle2/helen/), found on Flickr; no "
    "checksum was published, so nothing is downloaded for you",
    steps=(
        "download SmithCVPR2013_dataset_original.zip (the resized one has small faces) from the page above and "
        "unpack it: {root} must hold exemplars.txt, tuning.txt, testing.txt and labels/",
        "put the photographs into {root}/images/<name>.jpg; HELEN's page has them if the archive has not",
        "make {root}/points.csv, five key points for each face, see data/helen/README.md",
    ),
    check="spatialprop data check helen root={root} points={root}/points.csv",
)


class Helen(FileExamples):
    """A list of HELEN's faces, each brought to a mean face by its key points and cut to a square.

    Images and soft label maps are warped alike, in one step from the originals; then each pixel gets its most likely
    class. Pixels outside of the image are black and void.

    Args:
        root: The folder with exemplars.txt, tuning.txt, testing.txt, images/ and labels/.
        split: The list: exemplars (to train on), tuning or testing.
        size: Side of the square in pixels; None leaves images as they are, which only unaligned ones can be.
        points: A CSV file of key points with the columns of `spatialprop.data.sets.alignment.COLUMNS`; None for no
            alignment: then images are cut or padded around their middle.
        shape: The key points (x, y) of the mean face in the square, None for the mean of the exemplars, of their mean
            size: so faces keep their resolution on average.
        coarse: A folder of coarse maps of the squares, `{exemplars,tuning,testing}/<name>.npz`.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        size: int | None = 1024,
        points: str | Path | None = None,
        shape: Sequence[Sequence[float]] | None = None,
        coarse: str | Path | None = None,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"HELEN has the lists {', '.join(SPLITS)}; got {split!r}")
        if size is not None and size < 1:
            raise ValueError(f"data.size must be at least 1 pixel, or null; got {size}")
        if size is None and points is not None:
            raise ValueError("aligned faces need the side of their square, such as data.size=1024; got null")
        self.size = size
        self._transforms: dict[str, Similarity] = {}
        root = Path(root)
        names = read_list(root, split)
        if points is not None and size is not None:
            found = read_key_points(Path(points))
            exemplars = read_list(root, "exemplars") if shape is None else []
            _check_points(Path(points), found, [*names, *exemplars])
            if shape is None:
                target = mean_shape(np.stack([found[name] for name in exemplars]), size)
            else:
                target = _checked_shape(shape)
            self._transforms = {name: _aligned(name, found[name], target) for name in names}
        entries = [ImageEntry(name, split, root / "images" / f"{name}.jpg", root / "labels" / name) for name in names]
        super().__init__(LABELS, with_coarse_from(entries, coarse))

    def files(self, entry: ImageEntry) -> list[Path]:
        return [entry.image, *soft_label_files(entry)]

    def _label(self, entry: ImageEntry) -> NDArray[np.uint8]:
        """The 11 soft label maps. (11, H, W)"""
        maps = {path: read_indices(path) for path in soft_label_files(entry)}
        first, size = next((path, soft.shape) for path, soft in maps.items())
        for path, soft in maps.items():
            if soft.shape != size:
                raise ValueError(
                    f"{path} is {soft.shape[1]}x{soft.shape[0]} but {first} is {size[1]}x{size[0]}; "
                    f"the 11 label maps of an image must have one size"
                )
        return np.stack(list(maps.values()))

    def _join(
        self, entry: ImageEntry, image: NDArray[np.uint8], label: NDArray[np.uint8] | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        assert label is not None  # every list of HELEN comes with its labels
        check_size(entry, image, label.shape[1:])
        if self.size is None:
            return image, classes_of(label)
        size = (image.shape[0], image.shape[1])
        transform = self._transforms.get(entry.name, centred(size, self.size))
        beyond = outside(size, transform, self.size)
        warped = warp(image, transform, self.size)
        warped[beyond] = 0
        soft = np.stack([warp(part, transform, self.size) for part in label])
        return warped, classes_of(soft, beyond)


def soft_label_files(entry: ImageEntry) -> list[Path]:
    """The 11 label maps of an image."""
    assert entry.label is not None
    return [entry.label / f"{entry.name}_lbl{index:02d}.png" for index in range(len(LABELS.classes))]


def read_list(root: Path, split: str) -> list[str]:
    """The names in one of the three lists, whose lines are `<number> , <name>`."""
    path = root / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"the list {path} does not exist; data.root must hold {', '.join(f'{name}.txt' for name in SPLITS)}, "
            f"images/ and labels/, see `spatialprop data get helen`"
        )
    names = [line.rsplit(",", 1)[-1].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"the list {path} is empty; get it anew, see `spatialprop data get helen`")
    return names


def _check_points(path: Path, found: dict[str, Points], names: Sequence[str]) -> None:
    missing = sorted(set(names) - found.keys())
    if missing:
        raise ValueError(
            f"{path} has no key points for {missing[0]!r} and {len(missing) - 1} other images; "
            f"every image needs a line {','.join(COLUMNS)}"
        )


def _aligned(name: str, points: Points, target: Points) -> Similarity:
    try:
        return similarity(points, target)
    except ValueError as error:
        raise ValueError(f"the key points of {name!r}: {error}; correct that line") from None


def _checked_shape(shape: Sequence[Sequence[float]]) -> Points:
    target = np.array([[float(value) for value in point] for point in shape])
    if target.shape != (len(KEY_POINTS), 2):
        raise ValueError(f"data.shape must be 5 points (x, y): {', '.join(KEY_POINTS)}; got {shape}")
    return target


def helen(
    *,
    root: str,
    points: str | None = None,
    align: bool = True,
    size: int | None = 1024,
    shape: Sequence[Sequence[float]] | None = None,
    coarse: str | None = None,
) -> Splits:
    """HELEN's three official lists, aligned by the key points in a file."""
    if align and points is None:
        raise ValueError(
            f"HELEN's faces are aligned by five key points: give them as data.points=FILE, a CSV file with the columns "
            f"{','.join(COLUMNS)}, one line for each image (any face detector that marks eyes, nose and corners of the "
            f"mouth makes them; left and right are the picture's), or leave the faces unaligned: data.align=false"
        )
    used = points if align else None
    return Splits(*(Helen(root, split, size=size, points=used, shape=shape, coarse=coarse) for split in SPLITS))
