"""Tiny imitations of real data sets, in their real layouts.

Label values that no other image of a set has say which file they came from.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from spatialprop.data.sets.alignment import COLUMNS
from spatialprop.data.sets.cityscapes import TRAIN_ID
from spatialprop.data.sets.voc import LABELS as VOC_LABELS
from tests.data.tiny_folder import save_label

SIZE = (30, 44)  # height, width


def save_image(path: Path, seed: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC).save(path)


def save_voc_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(mask)
    picture.putpalette(VOC_LABELS.palette.tobytes())
    picture.save(path)


def outlined_square(value: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A square of one class on background, with VOC's border of 255."""
    mask = np.zeros(size, np.uint8)
    mask[5:20, 8:30] = 255
    mask[7:18, 10:28] = value
    return mask


VOC_TRAIN, VOC_VAL, VOC_TEST = ["2007_000032", "2007_000039"], ["2007_000033", "2008_000123"], ["2008_000006"]
VOC_CLASS = {"2007_000032": 1, "2007_000039": 20, "2007_000033": 15, "2008_000123": 12}  # of their squares
# SBD's own lists cut differently: it trains on an image of VOC's val, and labels one of VOC's train anew.
SBD_TRAIN, SBD_VAL = ["2007_000032", "2007_000033", "2009_000777"], ["2009_000888"]
SBD_CLASS = {"2007_000032": 3, "2007_000033": 4, "2009_000777": 5, "2009_000888": 6}


def write_voc(root: Path, *, test: bool = True) -> Path:
    folder = root / "VOCdevkit" / "VOC2012"
    for name in {*VOC_CLASS, *SBD_CLASS}:
        save_image(folder / "JPEGImages" / f"{name}.jpg", seed=int(name[-3:]))
    for name, value in VOC_CLASS.items():
        save_voc_mask(folder / "SegmentationClass" / f"{name}.png", outlined_square(value))
    lists = {"train": VOC_TRAIN, "val": VOC_VAL, "trainval": sorted(VOC_TRAIN + VOC_VAL)}
    if test:
        lists["test"] = VOC_TEST
        for name in VOC_TEST:
            save_image(folder / "JPEGImages" / f"{name}.jpg", seed=7, size=(25, 40))
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for part, names in lists.items():
        (folder / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


def write_sbd(root: Path) -> Path:
    """SBD's own release: masks without a border, as structs of MATLAB."""
    dataset = root / "benchmark_RELEASE" / "dataset"
    (dataset / "cls").mkdir(parents=True)
    for name, value in SBD_CLASS.items():
        mask = np.where(outlined_square(value) == value, value, 0).astype(np.uint8)
        boundaries = np.empty((20, 1), object)
        boundaries[:] = [[np.zeros((2, 2))]] * 20
        fields = {"Boundaries": boundaries, "Segmentation": mask, "CategoriesPresent": np.array([value], np.uint8)}
        savemat(dataset / "cls" / f"{name}.mat", {"GTcls": fields}, do_compression=True)
    (dataset / "train.txt").write_text("".join(f"{name}\n" for name in SBD_TRAIN))
    (dataset / "val.txt").write_text("".join(f"{name}\n" for name in SBD_VAL))
    return root


def write_segmentation_class_aug(folder: Path) -> Path:
    """SBD's masks as people pass them on: grey PNGs of SBD and of VOC in one folder."""
    folder.mkdir(parents=True)
    for name, value in {**VOC_CLASS, **SBD_CLASS}.items():
        save_label(folder / f"{name}.png", np.where(outlined_square(value) == value, value, 0).astype(np.uint8))
    return folder


def write_camvid(root: Path) -> Path:
    """Columns of the classes 0 to 11, shifted by one from image to image."""
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        (root / f"{split}annot").mkdir(parents=True)
        for index in range(count):
            name = f"0001TP_{split}{index:03d}"
            save_image(root / split / f"{name}.png", index)
            save_label(root / f"{split}annot" / f"{name}.png", columns((np.arange(12) + index) % 12))
    return root


def columns(values: Sequence[int] | np.ndarray, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Upright stripes of these values, of about one width."""
    return np.tile(np.asarray(values, np.uint8)[np.arange(size[1]) * len(values) // size[1]], (size[0], 1))


CITIES = {"train": ["aachen", "zurich"], "val": ["frankfurt"], "test": ["berlin"]}


def write_cityscapes(root: Path) -> Path:
    """One image of each city, with stripes of all 34 ids."""
    for split, cities in CITIES.items():
        for city in cities:
            name = f"{city}_000000_000019"
            save_image(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", len(city))
            folder = root / "gtFine" / split / city
            folder.mkdir(parents=True)
            ids = columns(list(TRAIN_ID)) if split != "test" else np.zeros(SIZE, np.uint8)
            save_label(folder / f"{name}_gtFine_labelIds.png", ids)
            Image.fromarray(ids).convert("RGB").save(folder / f"{name}_gtFine_color.png")
            save_label(folder / f"{name}_gtFine_instanceIds.png", ids)
    return root


HELEN = {"exemplars": ["100032540_1", "100040721_1", "10405146_1"], "tuning": ["12799337_1"], "testing": ["13602254_1"]}
# Eyes, nose and corners of the mouth of an upright face around (0, 0), 20 pixels from eye to eye.
FACE = np.array([[-10.0, -8], [10, -8], [0, 2], [-7, 12], [7, 12]])


def write_helen(root: Path, *, size: tuple[int, int] = (70, 90)) -> Path:
    """Tilted faces of several sizes: each key point is the middle of a part of its own, with soft borders.

    The parts are left eye (4), right eye (5), nose (6) and, at the corners of the mouth, upper (7) and lower lip (9).
    """
    lines = [",".join(COLUMNS)]
    rng = np.random.default_rng(0)
    for split, names in HELEN.items():
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{split}.txt").write_text("".join(f"{i + 1} , {name}\n" for i, name in enumerate(names)))
        for name in names:
            points = placed(FACE, rng.uniform(-0.4, 0.4), rng.uniform(0.8, 1.25), rng.uniform((38, 30), (52, 40)))
            soft = face_maps(points, size)
            save_image(root / "images" / f"{name}.jpg", seed=len(lines), size=size)
            (root / "labels" / name).mkdir(parents=True)
            for index, part in enumerate(soft):
                save_label(root / "labels" / name / f"{name}_lbl{index:02d}.png", part)
            lines.append(",".join([name, *(f"{value:.3f}" for value in points.ravel())]))
    (root / "points.csv").write_text("\n".join(lines) + "\n")
    return root


def placed(shape: np.ndarray, angle: float, scale: float, shift: np.ndarray) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * shape @ turn.T + shift


PARTS = (4, 5, 6, 7, 9)  # at the five key points


def face_maps(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Soft label maps, 255 in sum at each pixel. (11, H, W)"""
    rows, across = np.indices(size)
    shares = np.zeros((11, *size))
    for part, (x, y) in zip(PARTS, points, strict=True):
        shares[part] = 1 / (1 + np.exp(np.minimum(2 * (np.hypot(across - x, rows - y) - 4), 50)))
    shares[1] = np.clip(1 - shares.sum(axis=0), 0, 1) * (np.hypot(*(np.stack([across, rows], -1) - points[2]).T).T < 25)
    shares[0] = 1 - shares[1:].sum(axis=0)
    return np.rint(shares * 255).clip(0, 255).astype(np.uint8)
