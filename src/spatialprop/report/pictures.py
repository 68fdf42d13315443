"""Pictures of single images: masks, what was corrected, object probability, and the affinity of a pixel."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from spatialprop.data import VOID, LabelSet
from spatialprop.drawing import STRONGEST, pale, relative_affinity, tint_by_affinity
from spatialprop.report.canvas import (
    INK,
    PALE,
    class_entries,
    coloured,
    hatched,
    legend,
    legend_height,
    picture_grid,
    swatch,
)
from spatialprop.report.run import Arrays

WRONG, CORRECTED, NEWLY_WRONG = (207, 34, 46), (45, 164, 78), (111, 66, 193)
_OTHERWISE = (212, 167, 44)  # from one error to another
_BAR = 0.5  # inches that a colour bar needs


def draw_examples(examples: Sequence[tuple[str, Arrays]], labels: LabelSet) -> Figure | None:
    """Image, ground truth, masks, and the errors before and after, one row for each image.

    Args:
        examples: Name and arrays of each image; arrays that all of them lack have no column.
        labels: The classes, named in the legend as far as they occur.
    """
    held = {key for _, arrays in examples for key in arrays}
    maps: dict[str, Callable[[Arrays], NDArray[np.uint8]]] = {}
    kinds: dict[str, tuple[int, int, int]] = {}
    if {"label", "coarse"} <= held:
        before = "errors before" if "refined" in held else "errors"
        maps[before] = lambda arrays: error_map(arrays["label"], arrays["coarse"], image=arrays.get("image"))
        kinds["wrong"] = WRONG
        if "refined" in held:
            maps["errors after"] = lambda arrays: error_map(
                arrays["label"], arrays["coarse"], arrays.get("refined"), arrays.get("image")
            )
            kinds |= {"corrected": CORRECTED, "newly wrong": NEWLY_WRONG}
    drawn = sheet(examples, labels, maps, kinds)
    return drawn and drawn[0]


def draw_changes(examples: Sequence[tuple[str, Arrays]], labels: LabelSet) -> Figure | None:
    """Image, ground truth, masks, the pixels that refinement changed, and the gain in the image's own mIoU."""
    examples = [(name, arrays) for name, arrays in examples if {"label", "coarse", "refined", "gain"} <= arrays.keys()]
    maps = {
        "what changed": lambda arrays: change_map(
            arrays["label"], arrays["coarse"], arrays["refined"], arrays.get("image")
        )
    }
    kinds = {"rightly changed": CORRECTED, "wrongly changed": WRONG, "wrong before and after": _OTHERWISE}
    drawn = sheet(examples, labels, maps, kinds)
    if drawn is None:
        return None
    figure, rows = drawn
    for (_, arrays), row in zip(examples, rows, strict=True):
        row[-1].text(
            0.03, 0.95, f"{100 * float(arrays['gain']):+.1f}", transform=row[-1].transAxes, va="top", fontsize=9,
            color=INK, bbox={"facecolor": "white", "edgecolor": PALE, "boxstyle": "round,pad=0.2", "linewidth": 0.6},
        )  # fmt: skip
    return figure


def sheet(
    examples: Sequence[tuple[str, Arrays]],
    labels: LabelSet,
    maps: Mapping[str, Callable[[Arrays], NDArray[np.uint8]]],
    kinds: Mapping[str, tuple[int, int, int] | Patch],
    captions: Sequence[str] = (),
) -> tuple[Figure, list[list[Axes]]] | None:
    """Draw image, masks and `maps` of each example in a row, with a legend of classes and `kinds`."""
    columns: list[tuple[str, str]] = [("image", "image"), ("label", "ground truth"), ("coarse", "coarse")]
    methods = {key for _, arrays in examples for key in arrays if key.startswith("method_")}
    # An oracle knows the truth: its mask shows nothing that the truth's does not.
    others = sorted(key for key in methods if not key.startswith("method_oracle"))
    columns += [(key, key.removeprefix("method_")) for key in others] + [("refined", "refined")]
    columns = [(key, title) for key, title in columns if any(key in arrays for _, arrays in examples)]
    examples = [(name, arrays) for name, arrays in examples if any(key in arrays for key, _ in columns)]
    if not examples:
        return None
    masks = [key for key, _ in columns if key != "image"]
    present = np.unique(np.concatenate([arrays[key].ravel() for _, arrays in examples for key in masks if key in arrays]
                                       or [np.zeros(0, np.uint8)]))  # fmt: skip
    entries = class_entries(present.tolist(), labels)
    entries += [(name, kind if isinstance(kind, Patch) else swatch(kind)) for name, kind in kinds.items()]

    shapes = [next(arrays[key].shape[:2] for key, _ in columns if key in arrays) for _, arrays in examples]
    titles = [*(title for _, title in columns), *maps]
    foot = legend_height([name for name, _ in entries], len(titles))
    figure, rows = picture_grid(shapes, titles, [name for name, _ in examples], foot, captions)
    for (_, arrays), row in zip(examples, rows, strict=True):
        for axes, (key, _) in zip(row, columns, strict=False):
            if key in arrays:
                _show(axes, arrays[key] if key == "image" else coloured(arrays[key]))
        for axes, drawn in zip(row[len(columns) :], maps.values(), strict=True):
            if "label" in arrays and "coarse" in arrays:
                _show(axes, drawn(arrays))
    if entries:
        legend(figure, entries)
    return figure, rows


def error_map(
    label: NDArray[np.uint8],
    before: NDArray[np.uint8],
    after: NDArray[np.uint8] | None = None,
    image: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Wrong pixels in red and, where there is an `after`, corrected ones in green and newly wrong ones in violet.

    Example:
        >>> label, before, after = (np.array([row], np.uint8) for row in ([1, 1, 1], [0, 0, 1], [0, 1, 0]))
        >>> error_map(label, before, after)[0].tolist()
        [[207, 34, 46], [45, 164, 78], [111, 66, 193]]
    """
    drawn = _paled(label, image)
    was_wrong = before != label
    is_wrong = was_wrong if after is None else after != label
    drawn[is_wrong & was_wrong] = WRONG
    drawn[was_wrong & ~is_wrong] = CORRECTED
    drawn[is_wrong & ~was_wrong] = NEWLY_WRONG
    return hatched(drawn, label == VOID)


def change_map(
    label: NDArray[np.uint8],
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    image: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Changed pixels: in green where they are right now, in red where they were right, else in amber.

    Example:
        >>> label, before, after = (np.array([row], np.uint8) for row in ([1, 1, 1], [0, 1, 0], [1, 0, 2]))
        >>> change_map(label, before, after)[0].tolist()
        [[45, 164, 78], [207, 34, 46], [212, 167, 44]]
    """
    drawn = _paled(label, image)
    changed = before != after
    drawn[changed] = _OTHERWISE
    drawn[changed & (after == label)] = CORRECTED
    drawn[changed & (before == label)] = WRONG
    return hatched(drawn, label == VOID)


def draw_object_probability(examples: Sequence[tuple[str, Arrays]]) -> Figure | None:
    """The probability that a pixel is not background, before and after."""
    needed = ("image", "coarse_object", "refined_object")
    examples = [(name, arrays) for name, arrays in examples if all(key in arrays for key in needed)]
    if not examples:
        return None
    titles = ["image", "1 - P(background), coarse", "1 - P(background), refined", "refined - coarse"]
    shapes = [arrays["image"].shape[:2] for _, arrays in examples]
    figure, rows = picture_grid(shapes, titles, [name for name, _ in examples], foot=_BAR)
    objects = [[arrays[key].astype(np.float32) / 255 for key in needed[1:]] for _, arrays in examples]
    largest = max(float(np.quantile(np.abs(after - before), 0.999)) for before, after in objects)
    limit = max(0.2, np.ceil(10 * largest) / 10)
    change = ScalarMappable(Normalize(-limit, limit), matplotlib.colormaps["RdBu_r"])
    probability = ScalarMappable(Normalize(0, 1), matplotlib.colormaps["magma"])
    for (_, arrays), (before, after), row in zip(examples, objects, rows, strict=True):
        _show(row[0], arrays["image"])
        for axes, values in zip(row[1:3], (before, after), strict=True):
            _show(axes, values, probability)
        _show(row[3], after - before, change)
    _colour_bar(figure, rows[-1][1:3], probability)
    _colour_bar(figure, rows[-1][3:], change)
    return figure


def draw_affinity(examples: Sequence[tuple[str, Arrays]], most: int = 4) -> Figure | None:
    """The affinity of one marked pixel to each other one.

    Args:
        examples: Name and arrays of each image; those without an affinity are passed over.
        most: How many to draw.
    """
    examples = [(name, arrays) for name, arrays in examples if {"image", "affinity", "pixel"} <= arrays.keys()][:most]
    if not examples:
        return None
    titles = ["image and pixel", "affinity to every pixel", "affinity over the image"]
    shapes = [arrays["image"].shape[:2] for _, arrays in examples]
    figure, rows = picture_grid(shapes, titles, [name for name, _ in examples], foot=_BAR)
    colours = ScalarMappable(Normalize(-1, 1), matplotlib.colormaps["RdBu_r"])
    for (_, arrays), row in zip(examples, rows, strict=True):
        values = relative_affinity(arrays["affinity"])
        _show(row[0], arrays["image"])
        _show(row[1], values, colours)
        _show(row[2], tint_by_affinity(pale(arrays["image"]), values, 0.9))
        i, j = arrays["pixel"]
        for axes in row:
            axes.plot(j, i, "o", markersize=6, markerfacecolor="none", markeredgecolor="white", markeredgewidth=2.4)
            axes.plot(j, i, "o", markersize=6, markerfacecolor="none", markeredgecolor="black", markeredgewidth=1.1)
    _colour_bar(figure, rows[-1][1:], colours, f"affinity, relative to the {STRONGEST} largest; square root")
    return figure


def _show(axes: Axes, picture: NDArray[Any], colours: ScalarMappable | None = None) -> None:
    drawn = picture if colours is None else colours.to_rgba(picture, bytes=True)
    axes.imshow(drawn, aspect="auto", interpolation="nearest")


def _paled(label: NDArray[np.uint8], image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Something to draw on that still shows the image, if there is one."""
    if image is None:
        return np.full((*label.shape, 3), 235, np.uint8)
    return pale(image, 0.3, 170).astype(np.uint8)


def _colour_bar(figure: Figure, below: Sequence[Axes], colours: ScalarMappable, label: str = "") -> None:
    left, right = below[0].get_position().x0, below[-1].get_position().x1
    height = figure.get_figheight()
    width = 0.8 * min(right - left, 0.5)
    axes = figure.add_axes(((left + right - width) / 2, 0.3 / height, width, 0.09 / height))
    bar = figure.colorbar(colours, cax=axes, orientation="horizontal", format="%.3g")
    bar.set_ticks(list(np.linspace(*colours.get_clim(), 5)))
    bar.outline.set(linewidth=0.4, edgecolor=PALE)
    axes.tick_params(labelsize=7.5, colors=INK, length=2, pad=1.5)
    if label:
        axes.set_xlabel(label, fontsize=7.5, color=INK, labelpad=1)
