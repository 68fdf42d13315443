"""Alignment of faces by their key points: to one position, size and orientation."""

import csv
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data.label_set import VOID

Points = NDArray[np.float64]  # (5, 2), x and y; the centre of the top left pixel is (0, 0)
Similarity = NDArray[np.float64]  # (2, 3): rotation and scale, and a shift

# Left and right are those of the picture, not of the person.
KEY_POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = ("name", *(f"{point}_{axis}" for point in KEY_POINTS for axis in "xy"))


def similarity(source: Points, target: Points) -> Similarity:
    """The rotation, scale and shift, without mirroring, that brings `source` closest to `target` (Umeyama, 1991).

    Example:
        >>> square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
        >>> similarity(square, 3 * square + (10, 20)).round(6).tolist()
        [[3.0, 0.0, 10.0], [0.0, 3.0, 20.0]]
    """
    source_centre, target_centre = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_centre
    variance = (centred**2).sum()
    if variance == 0:
        raise ValueError("all key points are one and the same")
    left, strength, right = np.linalg.svd((target - target_centre).T @ centred)
    keep = np.array([1.0, np.sign(np.linalg.det(left @ right))])  # a mirror image is no rotation
    matrix = (left * keep) @ right * ((strength * keep).sum() / variance)
    return np.column_stack([matrix, target_centre - matrix @ source_centre])


def mean_shape(shapes: NDArray[np.float64], size: int) -> Points:
    """The mean of many faces' key points (n, 5, 2), of their mean size, in the middle of a square of `size` pixels.

    Faces are turned and scaled onto the mean until it stays the same (generalised Procrustes analysis), so that
    neither large nor tilted faces distort it; its orientation is that of the faces on average.
    """
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    sizes = np.sqrt((centred**2).sum(axis=(1, 2)))
    if not sizes.all():
        raise ValueError("the key points of a face are all one and the same")
    upright = _unit(centred.mean(axis=0))
    mean = upright
    for _ in range(100):
        moved = np.stack([shape @ similarity(shape, mean)[:, :2].T for shape in centred])
        before, mean = mean, _unit(moved.mean(axis=0))
        mean = _unit(mean @ similarity(mean, upright)[:, :2].T)
        if np.abs(mean - before).max() < 1e-9:
            break
    return np.asarray(mean * np.exp(np.log(sizes).mean()) + (size - 1) / 2, np.float64)


def _unit(shape: Points) -> Points:
    return np.asarray(shape / np.sqrt((shape**2).sum()), np.float64)


def warp(array: NDArray[np.uint8], transform: Similarity, size: int) -> NDArray[np.uint8]:
    """An image (H, W[, 3]) through a similarity, bilinear, to a square of `size` pixels; edges are repeated."""
    warped = cv2.warpAffine(array, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def outside(image_size: tuple[int, int], transform: Similarity, size: int) -> NDArray[np.bool_]:
    """Which pixels of the warped square lie beyond the image (H, W). (size, size)"""
    back = cv2.invertAffineTransform(transform)
    rows, columns = np.indices((size, size))
    x = back[0, 0] * columns + back[0, 1] * rows + back[0, 2]
    y = back[1, 0] * columns + back[1, 1] * rows + back[1, 2]
    height, width = image_size
    return np.asarray((x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5))


def centred(image_size: tuple[int, int], size: int) -> Similarity:
    """The shift by whole pixels that brings the middle of an image to that of a square of `size` pixels."""
    height, width = image_size
    return np.array([[1.0, 0, (size - width) // 2], [0, 1, (size - height) // 2]])


def classes_of(soft: NDArray[np.uint8], beyond: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """The most likely class of soft label maps (K, H, W), the first of equals; VOID `beyond` the image. (H, W)"""
    classes = soft.argmax(axis=0).astype(np.uint8)
    return classes if beyond is None else np.where(beyond, np.uint8(VOID), classes)


def read_key_points(path: Path) -> dict[str, Points]:
    """Key points by image name, from a CSV file whose first line names the columns."""
    needed = f"it needs the columns {','.join(COLUMNS)}, one line for each image, in pixels of the image"
    if not path.is_file():
        raise FileNotFoundError(f"the key points {path} do not exist; {needed}")
    points: dict[str, Points] = {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        if not set(COLUMNS) <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has the columns {','.join(rows.fieldnames or ())}; {needed}")
        for row in rows:
            try:
                numbers = np.array([float(row[column]) for column in COLUMNS[1:]])
            except (TypeError, ValueError):
                raise ValueError(f"{path}, line {rows.line_num}: every column must be a number; {needed}") from None
            if not np.isfinite(numbers).all():
                raise ValueError(f"{path}, line {rows.line_num}: key points must be finite; {needed}")
            if row["name"] in points:
                raise ValueError(f"{path}, line {rows.line_num}: {row['name']!r} has key points already; keep one line")
            points[row["name"]] = numbers.reshape(len(KEY_POINTS), 2)
    return points
