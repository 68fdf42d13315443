"""Windows of images, label maps and coarse maps."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from spatialprop.data.label_set import VOID
from spatialprop.data.loading.patches import Window


def crop_image(image: NDArray[np.uint8], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut a window out of an image and resize it to `size` (h, w); the edge is repeated beyond the image."""
    part = _cut(image, window, cv2.BORDER_REPLICATE)
    if part.shape[:2] == size:
        return part
    shrinks = size[0] < part.shape[0]
    return _as_bytes(cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))


def crop_label(label: NDArray[np.uint8], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut a window out of a label map and resize it to `size` (h, w); VOID beyond the image."""
    part = _cut(label, window, cv2.BORDER_CONSTANT)
    if part.shape == size:
        return part
    return _as_bytes(cv2.resize(part, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


def crop_coarse(
    coarse: NDArray[np.uint8], image_size: Sequence[int], window: Window, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Resample a window of a coarse map (K, h', w'), which covers the whole image, to probabilities at `size` (h, w).

    Bilinear with half-pixel centres: the window that the enlarged map would have, without enlarging all of it.
    """
    rows, covered_rows = _sources(window.top, window.height, size[0], image_size[0], coarse.shape[1])
    columns, covered_columns = _sources(window.left, window.width, size[1], image_size[1], coarse.shape[2])
    grid = torch.stack([columns.expand(size), rows[:, None].expand(size)], dim=-1)  # (h, w, 2)
    covered = torch.from_numpy(coarse[:, covered_rows, covered_columns].astype(np.float32))
    sampled = F.grid_sample(covered[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True)
    probabilities = sampled[0] / sampled[0].sum(dim=0, keepdim=True).clamp_min(1)  # bytes do not add up to 255
    return np.asarray(probabilities)


def merge_classes(
    label: NDArray[np.uint8], coarse: NDArray[np.uint8], image_size: Sequence[int], window: Window, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Merge classes until `count` are left, in the label of a window (h, w) and the coarse map (K, h', w').

    The classes that cover most of the window, by label and coarse map together, stay apart, the largest first; all
    others become one. A network trained on such samples cannot depend on the classes or on their number.
    """
    shares = np.bincount(label[label != VOID], minlength=len(coarse)) / label.size
    _, rows = _sources(window.top, window.height, window.height, image_size[0], coarse.shape[1])
    _, columns = _sources(window.left, window.width, window.width, image_size[1], coarse.shape[2])
    shares = shares + coarse[:, rows, columns].mean(axis=(1, 2)) / 255
    apart = np.argsort(-shares, kind="stable")[: count - 1]
    merged = np.zeros((count, *coarse.shape[1:]), np.uint8)
    merged[: len(apart)] = coarse[apart]
    merged[-1] += np.delete(coarse, apart, axis=0).sum(axis=0, dtype=np.int32).clip(max=255).astype(np.uint8)
    new = np.full(256, count - 1, np.uint8)
    new[apart] = np.arange(len(apart))
    new[VOID] = VOID
    return new[label], merged


def _sources(start: int, length: int, count: int, extent: int, cells: int) -> tuple[Tensor, slice]:
    """Map `count` positions, evenly spaced over `length` of `extent` image pixels, to the `cells` that cover the image.

    Returns the positions, with the first cell needed at -1 and the last at 1, and the slice of those cells.
    """
    centres = start + (torch.arange(count, dtype=torch.float64) + 0.5) * (length / count)
    places = (centres * (cells / extent) - 0.5).clamp(0, cells - 1)
    first, last = int(places[0]), min(int(places[-1]) + 1, cells - 1)
    return ((places - first) * (2 / max(1, last - first)) - 1).float(), slice(first, last + 1)


def _cut(array: NDArray[np.uint8], window: Window, border: int) -> NDArray[np.uint8]:
    part = array[window.top : window.top + window.height, window.left : window.left + window.width]
    below, right = window.height - part.shape[0], window.width - part.shape[1]
    if below or right:
        return _as_bytes(cv2.copyMakeBorder(part, 0, below, 0, right, border, value=VOID))
    return part


def _as_bytes(array: object) -> NDArray[np.uint8]:
    return np.asarray(array, np.uint8)
