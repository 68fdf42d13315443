"""A picture of some examples of a data set, their labels drawn over them."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spatialprop.data import VOID, Example, Examples
from spatialprop.data.tools import inspect_example
from spatialprop.drawing import overlay
from spatialprop.report.canvas import class_entries, hatched, legend, legend_height, picture_grid, save

_WIDEST = 640  # pixels of a picture; more are not seen


def write_sheet(path: Path, parts: Mapping[str, Examples], count: int) -> Path | None:
    """Draw up to `count` examples of each split: the image, its label over it, and its coarse map over it.

    Returns:
        The file, None if no example can be read.
    """
    chosen = [
        (f"{name}: {example.name}", example) for name, examples in parts.items() for example in _some(examples, count)
    ]
    if not chosen:
        return None
    labels = next(iter(parts.values())).labels
    titles = ["image", "label"] + (["coarse map"] if any(example.coarse is not None for _, example in chosen) else [])
    rows = [_pictures(example) for _, example in chosen]
    entries = class_entries({value for _, example in chosen for value in _values(example)}, labels, numbered=True)
    shapes = [pictures[0].shape[:2] for pictures in rows]
    foot = legend_height([name for name, _ in entries], len(titles))
    figure, grid = picture_grid(shapes, titles, [name for name, _ in chosen], foot=foot)
    for axes_of_row, pictures in zip(grid, rows, strict=True):
        for axes, picture in zip(axes_of_row, pictures, strict=False):
            axes.imshow(picture, aspect="auto", interpolation="nearest")
    legend(figure, entries)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(figure, path)


def _some(examples: Examples, count: int) -> list[Example]:
    """Examples from all over the split that can be read."""
    found: list[Example] = []
    order = np.linspace(0, len(examples) - 1, min(len(examples), 4 * count)).round().astype(int)
    # Every fourth first: where all can be read they are as far from each other as can be.
    for index in [*order[::4], *order[1::4], *order[2::4], *order[3::4]]:
        if len(found) == count:
            break
        example, _ = inspect_example(examples, int(index))
        if example is not None:
            found.append(example)
    return found


def _pictures(example: Example) -> list[NDArray[np.uint8]]:
    height, width = example.label.shape
    scale = min(1.0, _WIDEST / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = np.asarray(cv2.resize(example.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    label = np.asarray(cv2.resize(example.label, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    pictures = [image, _overlay(image, label)]
    if example.coarse is not None:
        coarse = cv2.resize(example.coarse.argmax(0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
        pictures.append(_overlay(image, np.asarray(coarse, np.uint8)))
    return pictures


def _overlay(image: NDArray[np.uint8], label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return hatched(overlay(image, label), label == VOID)


def _values(example: Example) -> set[int]:
    """The label values that are drawn."""
    values = set(np.unique(example.label).tolist())
    return values if example.coarse is None else values | set(np.unique(example.coarse.argmax(0)).tolist())
