"""Plots of scores and of training, and the writing of all of a run's figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spatialprop.data import LabelSet
from spatialprop.report.canvas import AFTER, INK, legend, method_colours, percent_axis, plot_grid, save
from spatialprop.report.pictures import draw_affinity, draw_changes, draw_examples, draw_object_probability
from spatialprop.report.run import Arrays, Curves, Run, read_kinds
from spatialprop.report.tables import is_number, percent, trimap
from spatialprop.report.values import draw_values

_MOST_CLASSES = 60  # with bars of their own; more are left to the page's table
_ROWS = 4  # images on one sheet
_RANKED = {
    "best": "Best: the images with the largest gain in their own mIoU by refinement, in points",
    "median": "Median: the images in the middle of that ranking",
    "worst": "Worst: the images whose own mIoU loses most, or gains least",
}
_STAGES = {"train": AFTER, "val": "#bc4c00"}


def write_figures(run: Run) -> list[tuple[Path, str]]:
    """Draw everything that a run's folder has data for into its `figures/`.

    Returns:
        Where each figure was written, and its caption.
    """
    starts = range(0, len(run.examples), _ROWS)
    sheets = [(f"_{start // _ROWS + 1}" if start else "", run.examples[start : start + _ROWS]) for start in starts]
    ranked = read_kinds(run.folder / "ranked", _RANKED)
    drawn: list[tuple[str, str, Figure | None]] = [
        *((f"examples{part}", "Images, masks and errors", _draw_masks(sheet, run.labels)) for part, sheet in sheets),
        *((f"values{part}", "Images, what is known, and results", draw_values(sheet)) for part, sheet in sheets),
        *((kind, text, draw_changes(ranked[kind], run.labels)) for kind, text in _RANKED.items()),
        ("trimap", "IoU near borders: only pixels within a radius of a label change count", draw_trimap(run.metrics)),
        ("per_class", "IoU of each class that occurs", draw_per_class(run.metrics, run.labels)),
        *(
            (f"object_probability{part}", "Object probability before and after", draw_object_probability(sheet))
            for part, sheet in sheets
        ),
        ("affinity", "The affinity of one pixel to the others: red adds, blue subtracts", draw_affinity(run.examples)),
        ("training", "Training", draw_training(run.curves)),
        ("training_coarse", "Training of the coarse model", draw_training(run.segmenter_curves)),
    ]
    folder = run.folder / "figures"
    return [(save(figure, folder / f"{name}.png"), caption) for name, caption, figure in drawn if figure]


def _draw_masks(examples: Sequence[tuple[str, Arrays]], labels: LabelSet) -> Figure | None:
    masks = [(name, arrays) for name, arrays in examples if "picture_truth" not in arrays]
    return draw_examples(masks, labels) if masks else None


def draw_trimap(metrics: Mapping[str, Mapping[str, Any]]) -> Figure | None:
    """Trimap IoU of every method against the radius."""
    curves = {method: curve for method, scores in metrics.items() if (curve := trimap(scores))}
    if not curves:
        return None
    figure, [axes] = plot_grid(["trimap IoU"], height=3.4)
    colours = method_colours(metrics)
    for method, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), "o-", color=colours[method], linewidth=2, markersize=4)
    axes.set_xlabel("distance from a border, pixels", fontsize=9, color=INK)
    axes.set_xticks(sorted({radius for curve in curves.values() for radius in curve}))
    percent_axis(axes.yaxis)
    name_lines(axes, [(method, list(curve.values())[-1], colours[method]) for method, curve in curves.items()])
    return figure


def draw_per_class(metrics: Mapping[str, Mapping[str, Any]], labels: LabelSet) -> Figure | None:
    """IoU of every class that occurs, for every method."""
    scores = {
        method: {index: value for index, value in enumerate(entry.get("per_class_IoU") or []) if is_number(value)}
        for method, entry in metrics.items()
    }
    scores = {method: values for method, values in scores.items() if values}
    if not scores or max(map(len, scores.values())) > _MOST_CLASSES:
        return None
    classes = sorted({index for values in scores.values() for index in values})
    names = [labels.classes[index] if index < len(labels.classes) else f"class {index}" for index in classes]
    thickness = 0.8 / len(scores)
    figure, [axes] = plot_grid(["IoU by class"], height=0.7 + len(classes) * max(0.26, 0.13 * len(scores)))
    colours = method_colours(metrics)
    for place, (method, values) in enumerate(scores.items()):
        heights = [classes.index(index) - 0.4 + (place + 0.5) * thickness for index in values]
        axes.barh(heights, list(values.values()), 0.9 * thickness, color=colours[method])
        for height, value in zip(heights, values.values(), strict=True):
            axes.text(value + 0.005, height, percent(value), va="center", fontsize=7, color=INK)
    axes.set_yticks(range(len(classes)), names, parse_math=False)
    axes.set(xlim=(0, 1.06), ylim=(len(classes) - 0.5, -0.5))
    axes.grid(visible=False, axis="y")
    percent_axis(axes.xaxis)
    legend(figure, [(method, Patch(color=colours[method])) for method in scores], "upper right")
    return figure


def draw_training(curves: Curves) -> Figure | None:
    """Losses and mIoU as they were logged, against the step."""
    panels = {
        title: chosen
        for title in ("loss", "mIoU")
        if (chosen := {column: curve for column, curve in curves.items() if title in column and curve[0]})
    }
    if not panels:
        return None
    last_step = max(steps[-1] for columns in panels.values() for steps, _ in columns.values())
    figure, all_axes = plot_grid(list(panels), height=3.0)
    for axes, (title, columns) in zip(all_axes, panels.items(), strict=True):
        names = {column: _short_name(column, title) for column in columns}
        colours = method_colours(names.values()) | _STAGES
        ends = []
        for column, (steps, values) in columns.items():
            colour = colours[names[column]]
            smooth = _smoothed(values)
            if smooth is not values:
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            marker = "o" if len(values) < 40 else ""
            axes.plot(steps, smooth, color=colour, linewidth=1.8, marker=marker, markersize=3.5)
            ends.append((names[column], smooth[-1], colour))
        axes.set_xlabel("step", fontsize=9, color=INK)
        axes.set_xlim(0, 1.02 * max(1.0, last_step))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        if title == "mIoU":
            percent_axis(axes.yaxis)
        name_lines(axes, ends)
    return figure


def name_lines(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Write each line's name at its end, moved apart where two would touch.

    Args:
        axes: Where the lines were drawn.
        ends: Name, last value and colour of each line.
    """
    low, high = axes.get_ylim()
    room = (high - low) / 14
    ends = sorted(ends, key=lambda end: end[1])
    heights = [value for _, value, _ in ends]
    for _ in range(50 * len(heights)):
        for below in range(len(heights) - 1):
            overlap = room - (heights[below + 1] - heights[below])
            if overlap > 0:
                heights[below] -= overlap / 2
                heights[below + 1] += overlap / 2
    for height, (name, _, colour) in zip(heights, ends, strict=True):
        axes.annotate(
            name, (1, height), xycoords=("axes fraction", "data"), xytext=(5, 0), textcoords="offset points",
            va="center", fontsize=9, color=colour, parse_math=False, annotation_clip=False,
        )  # fmt: skip


def _smoothed(values: list[float], window: int = 15) -> list[float]:
    if len(values) < 4 * window:
        return values
    kernel = np.ones(window)
    # Dividing by the kernel's share inside keeps the ends from bending to zero.
    return list(np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same"))


def _short_name(column: str, title: str) -> str:
    stage, _, rest = column.rpartition("/")
    kind = rest.removesuffix("_step").removesuffix("_epoch").replace(title, "").strip("_")
    return kind or stage or column
