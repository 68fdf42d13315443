"""A picture of some examples of a data set, their labels drawn over them."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from matplotlib.patches import Patch
from numpy.typing import NDArray

from spatialprop.data import VOID, Example, Examples, LabelSet
from spatialprop.data.tools import inspect_example
from spatialprop.report.canvas import PALE, legend, legend_height, picture_grid, save

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
    rows = [_pictures(example, labels) for _, example in chosen]
    entries = _legend_of([value for _, example in chosen for value in _values(example)], labels)
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


def _pictures(example: Example, labels: LabelSet) -> list[NDArray[np.uint8]]:
    height, width = example.label.shape
    scale = min(1.0, _WIDEST / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = np.asarray(cv2.resize(example.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    label = np.asarray(cv2.resize(example.label, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    pictures = [image, overlay(image, label, labels)]
    if example.coarse is not None:
        coarse = cv2.resize(example.coarse.argmax(0).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
        pictures.append(overlay(image, np.asarray(coarse, np.uint8), labels))
    return pictures


def overlay(image: NDArray[np.uint8], label: NDArray[np.uint8], labels: LabelSet) -> NDArray[np.uint8]:
    """A label map over its image, borders of classes drawn white, void hatched."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    drawn = (0.4 * grey + 0.5 * labels.palette[label] + 25).astype(np.uint8)  # 25: some classes are as good as black
    borders = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0
    drawn[borders] = 255
    rows, columns = np.indices(label.shape)
    drawn[label == VOID] = 255
    drawn[(label == VOID) & ((rows + columns) % 8 < 2)] = 140
    return drawn


def _values(example: Example) -> set[int]:
    """The label values that are drawn."""
    values = set(np.unique(example.label).tolist())
    return values if example.coarse is None else values | set(np.unique(example.coarse.argmax(0)).tolist())


def _legend_of(values: list[int], labels: LabelSet) -> list[tuple[str, Patch]]:
    entries = []
    for value in sorted(set(values)):
        if value == VOID:
            entries.append(("void", Patch(facecolor="white", edgecolor="#8c959f", hatch="//////", linewidth=0.6)))
        else:
            red, green, blue = (float(part) / 255 for part in labels.palette[value])
            patch = Patch(facecolor=(red, green, blue), edgecolor=PALE, linewidth=0.6)
            entries.append((f"{value} {labels.classes[value]}", patch))
    return entries
