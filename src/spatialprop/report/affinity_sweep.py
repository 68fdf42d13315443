"""What a multirun found about dilated affinity: the ablation, affinities, what propagation changed, and the cost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spatialprop.report.affinity import NEAR, PLACES, SCORES
from spatialprop.report.canvas import INK, legend, line_colours, percent_axis, plot_grid
from spatialprop.report.result import Spread
from spatialprop.report.sweep import Setting, Summary
from spatialprop.report.tables import MISSING, Table, is_number

ROWS = "Against the segmenter alone"
ACCURACY = "Affinities: which pairs are of different classes"
CHANGES = "What propagation changed"
REGIONS = "Wrong pixels after propagation, by size of the region of errors"
COST = "Cost of each part"
NOTES = {
    ROWS: "In percent; over base: less the score of the segmenter alone, trained from the same seed.",
    ACCURACY: "In percent, at an affinity of 0.5; AP over all thresholds. " + NEAR,
    CHANGES: "In percent. Changed: share of all pixels; rightly and wrongly: shares of those; net: what was changed "
    "rightly less what was changed wrongly, a share of all pixels.",
    REGIONS: "Growth in percent of the wrong pixels of connected regions that had so many of them before.",
    COST: "Means over the jobs of a setting; of base: what is added to the segmenter.",
}


def affinity_sweep_tables(summary: Summary) -> dict[str, Table]:
    """The tables that the jobs have numbers for, by title; none for jobs of other tasks."""
    tables = {
        ROWS: _rows(summary),
        ACCURACY: _accuracy(summary),
        CHANGES: _changes(summary),
        REGIONS: _regions(summary),
        COST: _cost(summary),
    }
    return {title: table for title, table in tables.items() if table.rows}


def draw_steps_of_settings(settings: Sequence[Setting]) -> Figure | None:
    """The gain in mIoU, and net pixels mended, against the number of steps; bands are one standard deviation."""
    drawn = [setting for setting in settings if _curve(setting, _gain)]
    if not drawn:
        return None
    figure, panels = plot_grid(["mIoU over coarse", "rightly less wrongly changed pixels"], height=3.8)
    colours = line_colours(len(drawn))
    for axes, of_step in zip(panels, (_gain, _net_of_step), strict=True):
        for setting, colour in zip(drawn, colours, strict=True):
            curve = _curve(setting, of_step)
            counts, means = list(curve), [spread.mean for spread in curve.values()]
            off = [spread.deviation or 0 for spread in curve.values()]
            low, high = ([mean + sign * by for mean, by in zip(means, off, strict=True)] for sign in (-1, 1))
            axes.fill_between(counts, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(counts, means, "o-", color=colour, linewidth=2, markersize=4)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("steps", fontsize=9, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        percent_axis(axes.yaxis)
    entries = [(setting.name, Patch(color=colour)) for setting, colour in zip(drawn, colours, strict=True)]
    legend(figure, entries, "outside lower center")
    return figure


def _rows(summary: Summary) -> Table:
    """Every setting against the one without a head, seed by seed."""
    alone = [setting for setting in summary.settings if all(_is_alone(metrics) for metrics in setting.metrics)]
    rows = []
    for setting in summary.settings:
        on_set = [one for one in alone if one.data == setting.data]
        base = dict(zip(on_set[0].seeds, on_set[0].metrics, strict=True)) if len(on_set) == 1 else {}
        jobs = [
            (metrics, base[seed]) for seed, metrics in zip(setting.seeds, setting.metrics, strict=True) if seed in base
        ]
        for method in ("coarse", "refined"):
            found = [(metrics[method], before["coarse"]) for metrics, before in jobs if method in metrics]
            cells = []
            for key in ("mIoU", "boundary_IoU"):
                values = [(now.get(key), before.get(key)) for now, before in found]
                known = [(now, before) for now, before in values if is_number(now) and is_number(before)]
                cells += [_spread(now for now, _ in known), _spread((now - before for now, before in known), "+")]
            if found:
                rows.append([*summary.places(setting), method, str(len(found)), *cells])
    heading = [*summary.place_heading, "method", "n", "mIoU", "over base", "Boundary IoU", "over base"]
    return Table(heading, rows, labels=len(summary.place_heading) + 1)


def _is_alone(metrics: Mapping[str, Any]) -> bool:
    return list(metrics.get("coarse", {}).get("cost", {}).get("milliseconds", {})) == ["segmenter"]


def _accuracy(summary: Summary) -> Table:
    rows = []
    for setting in summary.settings:
        found = [scores for metrics in setting.metrics if (scores := metrics.get("coarse", {}).get("affinity"))]
        for dilation in dict.fromkeys(dilation for scores in found for dilation in scores):
            for place, title in PLACES.items():
                kinds = [scores[dilation][place]["different"] for scores in found if dilation in scores]
                cells = [_spread(kind[score] for kind in kinds) for score in SCORES]
                rows.append([*summary.places(setting), dilation, title, *cells])
    return Table(
        [*summary.place_heading, "dilation", "pairs", *SCORES.values()], rows, labels=len(summary.place_heading) + 2
    )


def _changes(summary: Summary) -> Table:
    rows = []
    for setting in summary.settings:
        refined = [metrics["refined"] for metrics in setting.metrics if "steps" in metrics.get("refined", {})]
        found = [scores["changes"] for scores in refined if "changes" in scores]
        if found:
            cells = [_spread(changes[key] for changes in found) for key in ("changed", "right", "wrong")]
            rows.append([*summary.places(setting), *cells, _spread(map(net, found), "+")])
    return Table(
        [*summary.place_heading, "changed", "rightly", "wrongly", "net"], rows, labels=len(summary.place_heading)
    )


def _regions(summary: Summary) -> Table:
    growth: list[tuple[Setting, list[Mapping[str, Any]]]] = []
    for setting in summary.settings:
        found = [regions for metrics in setting.metrics if (regions := metrics.get("refined", {}).get("error_regions"))]
        if found:
            growth.append((setting, found))
    known = {size for _, found in growth for regions in found for size in regions if regions[size]["before"]}
    sizes = sorted(known, key=lambda size: int(size.partition("-")[0]))
    rows = [
        [*summary.places(setting), *(_spread((_growth(regions.get(size)) for regions in found), "+") for size in sizes)]
        for setting, found in growth
    ]
    return Table([*summary.place_heading, *(f"{size} px" for size in sizes)], rows, labels=len(summary.place_heading))


def _cost(summary: Summary) -> Table:
    rows = []
    for setting in summary.settings:
        found = [cost for metrics in setting.metrics if (cost := metrics.get("coarse", {}).get("cost"))]
        for part in dict.fromkeys(part for cost in found for part in cost["milliseconds"]):
            cells = []
            for key, scale, places in (("parameters", 1.0, 0), ("FLOPs", 1e9, 3), ("milliseconds", 1.0, 1)):
                value, base = (_mean(cost[key].get(name) for cost in found) for name in (part, "segmenter"))
                cells.append(MISSING if value is None else f"{value / scale:,.{places}f}")
                cells.append(f"{100 * value / base:.1f} %" if value is not None and base else MISSING)
            rows.append([*summary.places(setting), part, *cells])
    heading = [*summary.place_heading, "part", "parameters", "of base", "GFLOPs", "of base", "ms", "of base"]
    return Table(heading, rows, labels=len(summary.place_heading) + 1)


def net(changes: Mapping[str, Any]) -> float | None:
    """Pixels changed rightly less those changed wrongly, as a share of all.

    Example:
        >>> net({"changed": 0.25, "right": 0.75, "wrong": 0.25})
        0.125
    """
    changed = changes.get("changed")
    if not is_number(changed):
        return None
    return changed * ((changes.get("right") or 0) - (changes.get("wrong") or 0))


def _growth(found: Mapping[str, int] | None) -> float | None:
    return (found["after"] - found["before"]) / found["before"] if found and found["before"] else None


def _gain(metrics: Mapping[str, Any], step: str) -> float | None:
    before, after = metrics["coarse"].get("mIoU"), metrics["refined"]["steps"][step].get("mIoU")
    return after - before if is_number(before) and is_number(after) else None


def _net_of_step(metrics: Mapping[str, Any], step: str) -> float | None:
    return net(metrics["refined"]["steps"][step])


def _curve(setting: Setting, of_step: Callable[[Mapping[str, Any], str], float | None]) -> dict[int, Spread]:
    values: dict[int, list[float]] = {}
    for metrics in setting.metrics:
        for step in metrics.get("refined", {}).get("steps", {}):
            value = of_step(metrics, step)
            if value is not None:
                values.setdefault(int(step), []).append(value)
    return {step: Spread(found) for step, found in sorted(values.items())}


def _spread(values: Any, sign: str = "") -> str:
    known = [value for value in values if is_number(value)]
    return Spread(known).text(sign) if known else MISSING


def _mean(values: Any) -> float | None:
    known = [value for value in values if is_number(value)]
    return sum(known) / len(known) if known else None
