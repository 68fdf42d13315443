"""A multirun over several data sets, averaged over them: the gain of each method over the coarse maps."""

from dataclasses import dataclass, field
from statistics import fmean

from spatialprop.report.sweep.results import BOUNDARY_GAIN, GAIN, MeanStd, Result
from spatialprop.report.sweep.summary import Summary
from spatialprop.report.tables import MISSING, Table, rounded

TITLE = "Average over the sets"
NOTE = (
    "Gains over the coarse maps in points; standard deviation, over seeds, of the average. Least: the smallest gain "
    "on any set, and on which."
)
GAINS = {GAIN: "mIoU over coarse", BOUNDARY_GAIN: "Boundary IoU over coarse"}


@dataclass(frozen=True)
class Average:
    """A method under one setting on every data set that has it.

    Args:
        method: Its name.
        overrides: The setting.
        results: By data set.
    """

    method: str
    overrides: dict[str, str]
    results: dict[str, Result] = field(default_factory=dict)

    def gain(self, key: str) -> MeanStd | None:
        """The mean over the sets; its spread is over the seeds that all of them have."""
        on_sets = [found for result in self.results.values() if (found := result.by_seed(key))]
        shared = set.intersection(*map(set, on_sets)) if on_sets else set()
        values = [fmean(found[seed] for found in on_sets) for seed in sorted(shared)]
        if all(len(result.distinct) == 1 for result in self.results.values()):
            values = values[:1]
        return MeanStd(values) if values else None

    def least(self, key: str) -> tuple[float, str] | None:
        """The smallest mean gain on any set, and on which."""
        gains = {data: scores[key].mean for data, one in self.results.items() if key in (scores := one.scores())}
        return min((gain, data) for data, gain in gains.items()) if gains else None


def averages(summary: Summary) -> list[Average]:
    """Every method and setting but the coarse maps, in the order of the table; none where there is a single set."""
    if len(summary.sets) < 2:
        return []
    found: dict[tuple[tuple[tuple[str, str], ...], str], Average] = {}
    for result in summary.results():
        if result.method != "coarse":
            key = (tuple(result.overrides.items()), result.method)
            found.setdefault(key, Average(result.method, result.overrides)).results[result.data] = result
    return list(found.values())


def average_table(summary: Summary) -> Table:
    """One row for each method and setting."""
    rows = []
    for average in averages(summary):
        cells = []
        for key in GAINS:
            gain, least = average.gain(key), average.least(key)
            cells.append(gain.text("+", digits=2) if gain else MISSING)
            cells.append(f"{rounded(100 * least[0], 2, '+')} {least[1]}" if least else MISSING)
        chosen = [average.overrides.get(column, MISSING) for column in summary.columns]
        rows.append([*chosen, average.method, str(len(average.results)), *cells])
    heading = [part for title in GAINS.values() for part in (title, "least")]
    return Table([*summary.columns, "method", "sets", *heading], rows, labels=len(summary.columns) + 1)
