"""Figures of a run with dilated affinity: changes after each number of steps, and failures."""

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
from spatialprop.report.canvas import AFTER, BEFORE, INK, percent_axis, plot_grid, save
from spatialprop.report.figures import name_lines
from spatialprop.report.pictures import CORRECTED, NEWLY_WRONG, WRONG, error_map, sheet
from spatialprop.report.run import Arrays, Run, read_kinds
from spatialprop.report.tables import is_number

_CHANGES = {"right": ("rightly", "#1a7f37"), "wrong": ("wrongly", "#cf222e"), "neutral": ("neither", "#9a6700")}
_FAILURES = {
    "border": "Where affinity ignores a border: bright pixels are tied to a neighbour of another class",
    "spread": "Where a misclassification spreads: the region of errors that grew most in each image",
}
_MARK = "#ff00ff"


def write_affinity_figures(run: Run) -> list[tuple[Path, str]]:
    """Draw the figures of affinities into a run's `figures/`; none for runs of other tasks.

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
    maps = {
        "errors": lambda arrays: error_map(arrays["label"], arrays["coarse"], arrays.get("refined"), arrays["image"]),
        "ties across borders": lambda arrays: np.repeat(arrays["missed"][..., None], 3, axis=-1),
    }
    kinds: dict[str, tuple[int, int, int] | Patch] = {"wrong": WRONG}
    if any("refined" in arrays for _, arrays in failures):
        kinds |= {"corrected": CORRECTED, "newly wrong": NEWLY_WRONG}
    kinds["the failure"] = Patch(facecolor="none", edgecolor=_MARK, linewidth=1.2)
    drawn = sheet(failures, labels, maps, kinds, [_extent(arrays) for _, arrays in failures])
    if drawn is None:
        return None
    figure, rows = drawn
    for (_, arrays), row in zip(failures, rows, strict=True):
        for axes in (row[0], row[-2]):
            _outline(axes, arrays["where"])
    return figure


def _extent(arrays: Arrays) -> str:
    """The length of a stretch of border, or the size and growth of a region of errors."""
    size = int(arrays["size"])
    if "before" not in arrays:
        return f"{size:,} px"
    return f"{int(arrays['before']):,} wrong pixels, {size:+,} by propagation"


def _outline(axes: Axes, where: NDArray[np.bool_]) -> None:
    """Mark a region in a picture that is drawn already."""
    axes.autoscale(False)  # an outline at the picture's edge must not widen it
    rows, columns = (np.arange(-1, side + 1) for side in where.shape)
    # Padded: a contour needs two rows and two columns.
    axes.contour(columns, rows, np.pad(where, 1), levels=[0.5], colors=[_MARK], linewidths=0.9)
