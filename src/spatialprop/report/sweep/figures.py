"""Plots of a multirun: all methods and settings beside each other, data set by data set."""

import re
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spatialprop.report.canvas import BEFORE, INK, legend, line_colours, percent_axis, plot_grid
from spatialprop.report.sweep.results import MeanStd, Result
from spatialprop.report.sweep.summary import Summary

Drawn = tuple[str, str, Figure | None]  # file, caption, figure


def draw_sets(summary: Summary) -> list[Drawn]:
    """The scores and the trimap curves of every data set."""
    # An oracle knows the truth: its scores would compress the scale of all others.
    results = [result for result in summary.results() if not result.method.startswith("oracle")]
    drawn: list[Drawn] = []
    for data in summary.sets:
        on_set = [result for result in results if result.data == data]
        file = re.sub(r"\W+", "_", f"_{data}") if data else ""
        where = f"{data}: " if data else ""
        scores = f"{where}mean and standard deviation of each method, each job as a small dot"
        trimaps = f"{where}IoU near borders, mean and standard deviation"
        drawn += [(f"scores{file}", scores, draw_scores(on_set)), (f"trimap{file}", trimaps, draw_trimaps(on_set))]
    return drawn


def draw_scores(results: Sequence[Result]) -> Figure | None:
    """Points with error bars, a row for each result of one data set."""
    titles = {"mIoU": "mIoU", "boundary_IoU": "Boundary IoU"}
    titles = {key: title for key, title in titles.items() if any(key in result.scores() for result in results)}
    if not titles:
        return None
    figure, panels = plot_grid(list(titles.values()), height=0.9 + 0.36 * len(results))
    for axes, key in zip(panels, titles, strict=True):
        for row, (result, colour) in enumerate(zip(results, result_colours(results), strict=True)):
            score = result.scores().get(key)
            if score is None:
                continue
            if len(score.values) > 1:
                below = [row + 0.22] * len(score.values)
                axes.plot(score.values, below, "o", markersize=3.5, color=colour, alpha=0.5, markeredgewidth=0)
            axes.errorbar(
                score.mean, row, xerr=score.deviation, fmt="D", color=colour, markersize=5, capsize=3, linewidth=1.6
            )
            if result.method == "coarse" and not result.overrides:
                axes.axvline(score.mean, color=BEFORE, linewidth=1, linestyle="--")
        axes.set_ylim(len(results) - 0.5, -0.5)
        names = [name_of(result).replace(", ", "\n") for result in results]
        axes.set_yticks(range(len(results)), names, parse_math=False)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelleft=axes is panels[0])
        percent_axis(axes.xaxis)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    return figure


def draw_trimaps(results: Sequence[Result]) -> Figure | None:
    """Trimap IoU of each result of one data set, and its gain on the coarse maps, with bands of one deviation."""
    lines = [(result, colour) for result, colour in zip(results, result_colours(results), strict=True)]
    lines = [(result, colour) for result, colour in lines if result.trimap()]
    if not lines:
        return None
    gains = [(result, colour) for result, colour in lines if result.method != "coarse" and result.trimap_gain()]
    titles = ["trimap IoU", "over coarse"] if gains else ["trimap IoU"]
    figure, panels = plot_grid(titles, height=4)
    for result, colour in lines:
        draw_band(panels[0], result.trimap(), colour)
    for result, colour in gains:
        draw_band(panels[1], result.trimap_gain(), colour)
    for axes in panels:
        axes.set_xlabel("distance from a border, pixels", fontsize=9, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
        percent_axis(axes.yaxis)
    if gains:
        panels[1].axhline(0, color=BEFORE, linewidth=1.2)
    names = {"coarse" if result.method == "coarse" else name_of(result): colour for result, colour in lines}
    legend(figure, [(name, Patch(color=colour)) for name, colour in names.items()], "outside lower center")
    return figure


def name_of(result: Result) -> str:
    """The name of a setting's refined result is the setting; other methods are named, too."""
    setting = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in result.overrides.items())
    return ", ".join([setting] if setting and result.method == "refined" else filter(None, [setting, result.method]))


def result_colours(results: Sequence[Result]) -> list[str]:
    """Grey for coarse maps, and colours for the others."""
    others = iter(line_colours(sum(result.method != "coarse" for result in results)))
    return [BEFORE if result.method == "coarse" else next(others) for result in results]


def draw_band(axes: Axes, curve: Mapping[int, MeanStd], colour: str) -> None:
    """Draw a curve of means with a band of one standard deviation."""
    places, means = list(curve), [score.mean for score in curve.values()]
    low = [score.mean - (score.deviation or 0) for score in curve.values()]
    high = [score.mean + (score.deviation or 0) for score in curve.values()]
    axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(places, means, "o-", color=colour, linewidth=1.8, markersize=3.5)
