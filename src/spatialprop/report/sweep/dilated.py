"""Tables of a multirun with dilated affinity: the ablation, accuracy of affinities, changes by propagation, cost."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spatialprop.report.canvas import INK, legend, line_colours, percent_axis, plot_grid
from spatialprop.report.dilated import by_condition
from spatialprop.report.dilated.tables import LEFT_OUT, NEAR, PLACES, SCORES, net, region_growth
from spatialprop.report.sweep.figures import draw_band
from spatialprop.report.sweep.numbers import Column, Numbers, Row, signed, unscaled
from spatialprop.report.sweep.results import MeanStd
from spatialprop.report.sweep.summary import Setting, Summary
from spatialprop.report.tables import Table, is_number

ROWS = "Against the segmenter alone"
ACCURACY = "Affinities: which pairs are of different classes"
CHANGES = "What propagation changed"
STEPS = "After each number of steps"
HELPS = by_condition.TITLE
REGIONS = "Wrong pixels after propagation, by size of the region of errors"
COST = "Cost of each part"
NOTES = {
    ROWS: "In percent; over base: less the score of the segmenter alone, trained from the same seed; over coarse: less "
    "that of the coarse output of the same job.",
    ACCURACY: "In percent, at an affinity of 0.5; AP over all thresholds. " + NEAR,
    CHANGES: "In percent. Changed: share of all pixels; rightly and wrongly: shares of those; net: pixels changed "
    "rightly less those changed wrongly, a share of all pixels.",
    STEPS: "In percent; net: pixels changed rightly less those changed wrongly, a share of all pixels.",
    HELPS: f"Mean and standard deviation over jobs, each with its own thirds. {by_condition.NOTE}",
    REGIONS: "Growth in percent of the wrong pixels of connected regions that had so many of them before. New: wrong "
    "pixels of regions that had none before, in percent of all wrong pixels before; all: growth of all wrong pixels, "
    "new ones among them.",
    COST: "Means over the jobs of a setting. Of base: share of the segmenter's; its time is the median over all "
    "jobs on the set with a segmenter of that size, and since each job measures it again, its own share shows how far "
    f"times scatter. {LEFT_OUT}",
}


def affinity_sweep_tables(summary: Summary) -> dict[str, Table]:
    """The tables that the jobs have numbers for, by title; none for jobs of other tasks."""
    return {title: numbers.table(summary) for title, _, numbers in _numbers(summary)}


def affinity_sweep_numbers(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    """The numbers of these tables, for `report.json`."""
    return {key: numbers.plain() for _, key, numbers in _numbers(summary)}


def _numbers(summary: Summary) -> list[tuple[str, str, Numbers]]:
    """Title, key in `report.json` and content of the tables that have rows."""
    found = [
        (ROWS, "against_segmenter", _rows(summary)),
        (ACCURACY, "affinity", _accuracy(summary)),
        (CHANGES, "changes", _changes(summary)),
        (STEPS, "steps", _steps(summary)),
        (HELPS, "when_it_helps", _helps(summary)),
        (REGIONS, "error_regions", _regions(summary)),
        (COST, "cost", _cost(summary)),
    ]
    return [table for table in found if table[2].rows]


def draw_steps_of_settings(settings: Sequence[Setting]) -> Figure | None:
    """The gain in mIoU, and net pixels corrected, against the number of steps; bands are one standard deviation."""
    drawn = [setting for setting in settings if _curve(setting, _gain)]
    if not drawn:
        return None
    figure, panels = plot_grid(["mIoU over coarse", "rightly less wrongly changed pixels"], height=3.8)
    colours = line_colours(len(drawn))
    for axes, of_step in zip(panels, (_gain, _net_of_step), strict=True):
        for setting, colour in zip(drawn, colours, strict=True):
            draw_band(axes, _curve(setting, of_step), colour)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("steps", fontsize=9, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        percent_axis(axes.yaxis)
    entries = [(setting.name, Patch(color=colour)) for setting, colour in zip(drawn, colours, strict=True)]
    legend(figure, entries, "outside lower center")
    return figure


def _rows(summary: Summary) -> Numbers:
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
            found = [(metrics[method], metrics, before) for metrics, before in jobs if method in metrics]
            values: dict[str, Sequence[float | None]] = {}
            for key in ("mIoU", "boundary_IoU"):
                values[key] = [now.get(key) for now, _, _ in found]
                values[f"{key}_over_base"] = [_less(now, before.get("coarse", {}), key) for now, _, before in found]
                if method != "coarse":
                    values[f"{key}_over_coarse"] = [_less(now, own.get("coarse", {}), key) for now, own, _ in found]
            if found:
                rows.append(Row(setting, [method, len(found)], values))
    columns = {
        name: column
        for key, title in (("mIoU", "mIoU"), ("boundary_IoU", "Boundary IoU"))
        for name, column in {
            key: Column(title),
            f"{key}_over_base": Column("over base", signed),
            f"{key}_over_coarse": Column("over coarse", signed),
        }.items()
    }
    return Numbers(["method", "n"], columns, rows)


def _is_alone(metrics: Mapping[str, Any]) -> bool:
    return list(metrics.get("coarse", {}).get("cost", {}).get("milliseconds", {})) == ["segmenter"]


def _less(after: Mapping[str, Any], before: Mapping[str, Any], key: str) -> float | None:
    now, then = after.get(key), before.get(key)
    return now - then if is_number(now) and is_number(then) else None


def _accuracy(summary: Summary) -> Numbers:
    rows = []
    for setting in summary.settings:
        found = _found(setting, "coarse", "affinity")
        for dilation in dict.fromkeys(dilation for scores in found for dilation in scores):
            for place, title in PLACES.items():
                kinds = [scores[dilation][place]["different"] for scores in found if dilation in scores]
                rows.append(
                    Row(setting, [dilation, title], {score: [kind[score] for kind in kinds] for score in SCORES})
                )
    return Numbers(["dilation", "pairs"], {key: Column(title) for key, title in SCORES.items()}, rows)


def _changes(summary: Summary) -> Numbers:
    titles = {"changed": "changed", "right": "rightly", "wrong": "wrongly"}
    rows = []
    for setting in summary.settings:
        refined = [metrics["refined"] for metrics in setting.metrics if "steps" in metrics.get("refined", {})]
        found = [scores["changes"] for scores in refined if "changes" in scores]
        if found:
            values = {key: [changes[key] for changes in found] for key in titles}
            rows.append(Row(setting, [], values | {"net": [net(changes) for changes in found]}))
    return Numbers([], {key: Column(title) for key, title in titles.items()} | {"net": Column("net", signed)}, rows)


def _steps(summary: Summary) -> Numbers:
    rows = []
    for setting in summary.settings:
        gains, nets = _curve(setting, _gain), _curve(setting, _net_of_step)
        for step in sorted(gains.keys() | nets.keys()):
            values = {key: curve[step].values for key, curve in (("gain", gains), ("net", nets)) if step in curve}
            rows.append(Row(setting, [step], values))
    return Numbers(["steps"], {"gain": Column("mIoU over coarse", signed), "net": Column("net", signed)}, rows)


def _helps(summary: Summary) -> Numbers:
    texts = {"images": unscaled, "hurt": unscaled, "net": partial(MeanStd.text, sign="+", digits=2)}
    columns = {key: Column(title, texts.get(key, MeanStd.text)) for key, title in by_condition.COLUMNS.items()}
    rows = []
    for setting in summary.settings:
        bins: dict[tuple[str, str], list[dict[str, float | None]]] = {}
        for counts in _found(setting, "refined", "images"):
            for condition, third, numbers in by_condition.when_it_helps(counts):
                bins.setdefault((condition, third), []).append(numbers)
        for labels, jobs in bins.items():
            rows.append(Row(setting, labels, {key: [numbers[key] for numbers in jobs] for key in columns}))
    return Numbers(by_condition.HEADING, columns, rows)


def _regions(summary: Summary) -> Numbers:
    found = [(setting, jobs) for setting in summary.settings if (jobs := _found(setting, "refined", "error_regions"))]
    known = {size for _, jobs in found for regions in jobs for size in regions if regions[size]["before"]}
    sizes = sorted(known, key=lambda size: int(size.partition("-")[0]))
    rows = []
    for setting, jobs in found:
        growth = {size: [region_growth(regions, [size]) for regions in jobs] for size in sizes}
        growth["new"] = [region_growth(regions, ["0"], list(regions)) for regions in jobs]
        growth["all"] = [region_growth(regions, list(regions)) for regions in jobs]
        rows.append(Row(setting, [], growth))
    titles = {**{size: f"{size} px" for size in sizes}, "new": "new", "all": "all"}
    return Numbers([], {key: Column(title, signed) for key, title in titles.items()}, rows)


def _cost(summary: Summary) -> Numbers:
    times: dict[tuple[Any, ...], list[float]] = {}
    for setting in summary.settings:
        for cost in _found(setting, "coarse", "cost"):
            if is_number(time := cost["milliseconds"].get("segmenter")):
                times.setdefault(_segmenter(setting, cost), []).append(time)
    rows = []
    for setting in summary.settings:
        found = _found(setting, "coarse", "cost")
        for part in dict.fromkeys(part for cost in found for part in cost["milliseconds"]):
            values: dict[str, list[float | None]] = {}
            for cost in found:
                base = {key: cost[key].get("segmenter") for key in ("parameters", "FLOPs")}
                base["milliseconds"] = median(times.get(_segmenter(setting, cost), [0]))  # nobody's share is known
                for key, whole in base.items():
                    value = cost[key].get(part)
                    values.setdefault(key, []).append(value)
                    values.setdefault(f"{key}_of_base", []).append(
                        value / whole if is_number(value) and whole else None
                    )
            rows.append(Row(setting, [part], values))
    of_base = Column("of base", lambda score: f"{100 * score.mean:.1f} %")
    columns = {
        "parameters": Column("parameters", lambda score: f"{score.mean:,.0f}"),
        "parameters_of_base": of_base,
        "FLOPs": Column("GFLOPs", lambda score: f"{score.mean / 1e9:,.3f}"),
        "FLOPs_of_base": of_base,
        "milliseconds": Column("ms", lambda score: f"{score.mean:,.1f}"),
        "milliseconds_of_base": of_base,
    }
    return Numbers(["part"], columns, rows)


def _segmenter(setting: Setting, cost: Mapping[str, Any]) -> tuple[Any, ...]:
    """A key that is equal for settings with the same segmenter on the same images."""
    return setting.data, *(cost[key].get("segmenter") for key in ("parameters", "FLOPs"))


def _found(setting: Setting, method: str, key: str) -> list[Mapping[str, Any]]:
    return [found for metrics in setting.metrics if (found := metrics.get(method, {}).get(key))]


def _gain(metrics: Mapping[str, Any], step: str) -> float | None:
    return _less(metrics["refined"]["steps"][step], metrics.get("coarse", {}), "mIoU")


def _net_of_step(metrics: Mapping[str, Any], step: str) -> float | None:
    return net(metrics["refined"]["steps"][step])


def _curve(setting: Setting, of_step: Callable[[Mapping[str, Any], str], float | None]) -> dict[int, MeanStd]:
    values: dict[int, list[float]] = {}
    for metrics in setting.metrics:
        for step in metrics.get("refined", {}).get("steps", {}):
            value = of_step(metrics, step)
            if value is not None:
                values.setdefault(int(step), []).append(value)
    return {step: MeanStd(found) for step, found in sorted(values.items())}
