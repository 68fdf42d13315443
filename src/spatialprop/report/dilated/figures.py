"""Figures of a run that predicts dilated affinity: what each number of steps changes, and where it fails."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from spatialprop.data import LabelSet
from spatialprop.report.canvas import (
    AFTER,
    BEFORE,
    INK,
    class_entries,
    coloured,
    legend,
    legend_height,
    percent_axis,
    picture_grid,
    plot_grid,
    save,
    swatch,
)
from spatialprop.report.figures import name_lines
from spatialprop.report.pictures import CORRECTED, NEWLY_WRONG, WRONG, error_map
from spatialprop.report.run import Arrays, Run, read_kinds
from spatialprop.report.tables import is_number

_CHANGES = {"right": ("rightly", "#1a7f37"), "wrong": ("wrongly", "#cf222e"), "neutral": ("neither", "#9a6700")}
_FAILURES = {
    "border": "Where affinity ignores a border: bright pixels are tied to a neighbour of another class",
    "spread": "Where a misclassification spreads: the region of errors that grew most in each image",
}
_MARK = "#ff00ff"


def write_affinity_figures(run: Run) -> list[tuple[Path, str]]:
    """Draw what a run's folder has of affinities into its `figures/`; nothing for runs of other tasks.

    Returns:
        Where each figure was written, and its caption.
    """
    failures = read_kinds(run.folder / "failures", _FAILURES)
    steps = (run.metrics.get("refined") or {}).get("steps") or {}
    coarse = (run.metrics.get("coarse") or {}).get("mIoU")
    drawn: list[tuple[str, str, Figure | None]] = [
        ("steps", "What more steps of propagation do", draw_steps(steps, coarse)),
        *((f"failures_{kind}", text, draw_failures(failures[kind], run.labels)) for kind, text in _FAILURES.items()),
    ]
    folder = run.folder / "figures"
    return [(save(figure, folder / f"{name}.png"), caption) for name, caption, figure in drawn if figure]


def draw_steps(steps: Mapping[str, Mapping[str, Any]], coarse: float | None) -> Figure | None:
    """mIoU, and the share of all pixels that is changed rightly, wrongly or from wrong to wrong, against the step."""
    if not any(is_number(found["mIoU"]) for found in steps.values()):
        return None
    counts = list(map(int, steps))
    figure, (scores, changes) = plot_grid(["mIoU", "pixels changed"], height=3.2)
    scores.plot(counts, [found["mIoU"] for found in steps.values()], "o-", color=AFTER, linewidth=2, markersize=4)
    if is_number(coarse):
        scores.axhline(coarse, color=BEFORE, linewidth=1.2, linestyle="--")
    ends = []
    for key, (name, colour) in _CHANGES.items():
        values = [(found["changed"] or 0) * (found[key] or 0) for found in steps.values()]
        changes.plot(counts, values, "o-", color=colour, linewidth=2, markersize=4)
        ends.append((name, values[-1], colour))
    for axes in (scores, changes):
        axes.set_xlabel("steps", fontsize=9, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        percent_axis(axes.yaxis)
    name_lines(changes, ends)
    if is_number(coarse):
        name_lines(scores, [("coarse", coarse, BEFORE)])
    return figure


def draw_failures(failures: Sequence[tuple[str, Arrays]], labels: LabelSet) -> Figure | None:
    """Cut-outs with masks, errors and missed borders, one row each."""
    if not failures:
        return None
    columns = [("image", "image"), ("label", "ground truth"), ("coarse", "coarse"), ("refined", "refined")]
    columns = [(key, title) for key, title in columns if any(key in arrays for _, arrays in failures)]
    titles = [*(title for _, title in columns), "errors", "ties across borders"]
    present = np.unique(np.concatenate([arrays[key].ravel() for _, arrays in failures for key, _ in columns[1:]]))
    entries = class_entries(present.tolist(), labels)
    refined = "refined" in dict(columns)
    kinds = [(WRONG, "wrong"), (CORRECTED, "corrected"), (NEWLY_WRONG, "newly wrong")]
    entries += [(name, swatch(colour)) for colour, name in (kinds if refined else kinds[:1])]
    entries.append(("the failure", Patch(facecolor="none", edgecolor=_MARK, linewidth=1.2)))

    shapes = [arrays["label"].shape[:2] for _, arrays in failures]
    foot = legend_height([name for name, _ in entries])
    names, captions = [name for name, _ in failures], [_extent(arrays) for _, arrays in failures]
    figure, rows = picture_grid(shapes, titles, names, foot, captions)
    for (_, arrays), row in zip(failures, rows, strict=True):
        pictures = [arrays[key] if key == "image" else coloured(arrays[key]) for key, _ in columns]
        pictures.append(error_map(arrays["label"], arrays["coarse"], arrays.get("refined"), arrays["image"]))
        pictures.append(np.repeat(arrays["missed"][..., None], 3, axis=-1))
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture, aspect="auto", interpolation="nearest")
        for axes in (row[0], row[-2]):
            _outline(axes, arrays["where"])
    legend(figure, entries)
    return figure


def _extent(arrays: Arrays) -> str:
    """How long a stretch of border is, or how large a region of errors was, and by how much it grew."""
    size = int(arrays["size"])
    if "before" not in arrays:
        return f"{size:,} px"
    return f"{int(arrays['before']):,} wrong pixels, {size:+,} by propagation"


def _outline(axes: Axes, where: NDArray[np.bool_]) -> None:
    """Mark a region in a picture that is drawn already."""
    axes.autoscale(False)  # the outline of what reaches the picture's edge must not widen it
    rows, columns = (np.arange(-1, side + 1) for side in where.shape)
    # A contour needs two rows and two columns, which a picture of one pixel's width has with what lies around it.
    axes.contour(columns, rows, np.pad(where, 1), levels=[0.5], colors=[_MARK], linewidths=0.9)
