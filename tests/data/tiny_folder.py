"""A tiny data set in the layout that `ImageFolder` reads."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def write_tiny_folder(
    root: Path,
    *,
    splits: Sequence[str] = ("train", "val"),
    images: int = 4,
    size: tuple[int, int] = (40, 56),
    classes: int = 4,
    ignore_index: int | None = 255,
    coarse: bool = True,
) -> Path:
    """Write so many images of coloured discs for each split, with a line of void around them; returns `root`.

    JPEG and PNG images take turns, and so do grey and palette labels, and coarse maps of floats and of bytes.
    """
    root.mkdir(parents=True, exist_ok=True)
    names = ["background", *(f"disc {value}" for value in range(1, classes))]
    (root / "dataset.json").write_text(json.dumps({"name": "discs", "classes": names, "ignore_index": ignore_index}))
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (classes, 3))
    for split in splits:
        for folder in ("images", "labels", "coarse")[: 2 + coarse]:
            (root / split / folder).mkdir(parents=True)
        for index in range(images):
            name = f"{split}_{index}"
            discs = draw_discs(rng, size, classes)
            pixels = colours[discs] + rng.normal(0, 6, (*size, 3))
            suffix = ("jpg", "png")[index % 2]
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / "images" / f"{name}.{suffix}")
            save_label(root / split / "labels" / f"{name}.png", outlined(discs, ignore_index), palette=index % 4 > 1)
            if coarse:
                shares = eighth(discs, classes)
                stored = shares if index % 2 else np.rint(shares * 255).astype(np.uint8)
                np.savez_compressed(root / split / "coarse" / f"{name}.npz", probs=stored)
    return root


def draw_discs(rng: np.random.Generator, size: tuple[int, int], classes: int) -> np.ndarray:
    discs = np.zeros(size, np.uint8)
    for value in range(1, classes):
        centre = (int(rng.integers(size[1])), int(rng.integers(size[0])))
        cv2.circle(discs, centre, min(size) // 4, value, thickness=-1)
    return discs


def outlined(discs: np.ndarray, ignore_index: int | None) -> np.ndarray:
    if ignore_index is None:
        return discs
    inside = cv2.erode(discs, np.ones((3, 3))) == cv2.dilate(discs, np.ones((3, 3)))
    return np.where(inside, discs, ignore_index).astype(np.uint8)


def save_label(path: Path, label: np.ndarray, palette: bool = False) -> None:
    picture = Image.fromarray(label)
    if palette:
        picture.putpalette(np.random.default_rng(1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(path)


def eighth(label: np.ndarray, classes: int) -> np.ndarray:
    """Shares of the classes in cells of about 8 x 8 pixels. (K, h, w)"""
    height, width = label.shape
    one_hot = np.eye(classes, dtype=np.float32)[label]
    shares = cv2.resize(one_hot, (-(-width // 8), -(-height // 8)), interpolation=cv2.INTER_AREA)
    return shares.transpose(2, 0, 1)
