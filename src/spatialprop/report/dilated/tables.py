"""Tables of a run that predicts dilated affinity: accuracy of affinities, regions of errors, cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from spatialprop.report.dilated import by_condition
from spatialprop.report.tables import MISSING, Table, decimal, is_number, percent

SCORES = {"precision": "precision", "recall": "recall", "F1": "F1", "average_precision": "AP"}
PLACES = {"all": "all", "near_border": "near a border"}
ACCURACY = "Accuracy of affinities"
HELPS = by_condition.TITLE
REGIONS = "Regions of errors"
COST = "Cost"
NEAR = (
    "Pairs are counted from both ends. Near a border: a cell of another class lies within 2 cells of the end that a "
    "pair is counted from, at all dilations."
)
LEFT_OUT = (
    "Operations are those of convolutions, of averaging and of scans, a product and a sum counting two; not counted: "
    "sigmoid and power of affinities, resizing, turning weights into the gates of scans, and logarithms."
)
NOTES = {
    ACCURACY: "In percent. Precision and recall of pairs of different classes, or of one class (same), at an affinity "
    "of 0.5; AP over all thresholds. " + NEAR,
    HELPS: by_condition.NOTE,
    REGIONS: "Wrong pixels before and after propagation, by the number of wrong pixels that their connected region had "
    "before; 0: there was none. Change: of these pixels; of all: of all wrong pixels before.",
    COST: f"Operations for one image of the size given; median time over all images. {LEFT_OUT}",
}


def affinity_tables(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Table]:
    """The tables that a run has numbers for, by title."""
    coarse, refined = metrics.get("coarse", {}), metrics.get("refined", {})
    tables = {}
    if coarse.get("affinity"):
        tables[ACCURACY] = accuracy_table(coarse["affinity"])
    if refined.get("images"):
        tables[HELPS] = by_condition.helps_table(refined["images"])
    if refined.get("error_regions"):
        tables[REGIONS] = regions_table(refined["error_regions"])
    if coarse.get("cost"):
        tables[COST] = cost_table(coarse["cost"])
    return tables


def accuracy_table(affinity: Mapping[str, Any]) -> Table:
    """Scores of affinities by dilation, over all pairs and near borders, for both questions."""
    heading = ["dilation", "pairs", "different", *SCORES.values(), *(f"same: {title}" for title in SCORES.values())]
    rows = [
        [
            dilation,
            title,
            percent(places[place]["different"]["share"]),
            *(percent(places[place][kind][score]) for kind in ("different", "same") for score in SCORES),
        ]
        for dilation, places in affinity.items()
        for place, title in PLACES.items()
    ]
    return Table(heading, rows, labels=2)


def regions_table(regions: Mapping[str, Mapping[str, int]]) -> Table:
    """Wrong pixels by size of region, and of all regions.

    Example:
        >>> new, small = {"regions": 1, "before": 0, "after": 4}, {"regions": 5, "before": 8, "after": 2}
        >>> print(regions_table({"0": new, "1-3": small}).text())
        | size | regions | wrong before | after | change | of all |
        |------|--------:|-------------:|------:|-------:|-------:|
        | 0    |       1 |            0 |     4 |      - |  +50.0 |
        | 1-3  |       5 |            8 |     2 |  -75.0 |  -75.0 |
        | all  |       6 |            8 |     6 |  -25.0 |  -25.0 |
    """
    sizes = {size: [size] for size, found in regions.items() if found["regions"]} | {"all": list(regions)}
    rows = [
        [
            name,
            *(f"{sum(regions[size][key] for size in chosen):,}" for key in ("regions", "before", "after")),
            percent(region_growth(regions, chosen), sign="+"),
            percent(region_growth(regions, chosen, list(regions)), sign="+"),
        ]
        for name, chosen in sizes.items()
    ]
    return Table(["size", "regions", "wrong before", "after", "change", "of all"], rows)


def region_growth(
    regions: Mapping[str, Mapping[str, int]], chosen: Sequence[str], of: Sequence[str] | None = None
) -> float | None:
    """The growth of regions of the chosen sizes in wrong pixels, as a share of those of the sizes `of`.

    By default that is a share of their own; None where there were none before.

    Example:
        >>> regions = {"0": {"before": 0, "after": 4}, "1-3": {"before": 8, "after": 2}}
        >>> region_growth(regions, ["1-3"]), region_growth(regions, ["0"]), region_growth(regions, ["0"], ["0", "1-3"])
        (-0.75, None, 0.5)
    """
    whole = sum(regions[size]["before"] for size in (chosen if of is None else of) if size in regions)
    grown = sum(regions[size]["after"] - regions[size]["before"] for size in chosen if size in regions)
    return grown / whole if whole else None


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


def cost_table(cost: Mapping[str, Any]) -> Table:
    """Parameters, operations and milliseconds of each part, and as a share of the segmenter's.

    Example:
        >>> print(cost_table({
        ...     "size": [48, 64], "parameters": {"segmenter": 2000, "head": 500},
        ...     "FLOPs": {"segmenter": 2e9, "head": 1e8}, "milliseconds": {"segmenter": 20, "head": 3},
        ... }).text())
        | part, 48 x 64 | parameters | of base | GFLOPs | of base |   ms | of base |
        |---------------|-----------:|--------:|-------:|--------:|-----:|--------:|
        | segmenter     |      2,000 | 100.0 % |  2.000 | 100.0 % | 20.0 | 100.0 % |
        | head          |        500 |  25.0 % |  0.100 |   5.0 % |  3.0 |  15.0 % |
    """
    columns = [cost[key] for key in ("parameters", "FLOPs", "milliseconds")]

    def text(index: int, value: Any) -> str:
        return (f"{value:,}", f"{value / 1e9:.3f}", decimal(value))[index] if is_number(value) else MISSING

    rows = []
    for part in cost["milliseconds"]:
        cells = [part]
        for index, values in enumerate(columns):
            value, base = values.get(part), values.get("segmenter")
            share = f"{100 * value / base:.1f} %" if is_number(value) and base else MISSING
            cells += [text(index, value), share]
        rows.append(cells)
    size = " x ".join(map(str, cost["size"]))
    return Table([f"part, {size}", "parameters", "of base", "GFLOPs", "of base", "ms", "of base"], rows)
