"""Settings of a multirun against the first one, seed by seed: what both seeds share drops out of the difference."""

from spatialprop.report.sweep.results import MeanStd, Result
from spatialprop.report.sweep.summary import Setting, Summary
from spatialprop.report.tables import MISSING, SCORES, Table

TITLE = "Differences from the first setting"
NOTE = (
    "Of each setting and the first one on its set, seed by seed, in points: mean and standard deviation of the "
    "difference, which is smaller than those of the scores where seeds are harder or easier for all."
)


def difference_table(summary: Summary) -> Table:
    """One row for each further setting, of the method that its jobs train; none where no seed is shared."""
    rows = []
    for data in summary.sets:
        first, *others = [setting for setting in summary.settings if setting.data == data]
        for setting in others:
            cells, count = _differences(_trained(setting), _trained(first))
            if count:
                rows.append([*summary.places(setting), str(count), *cells])
    heading = [*summary.place_heading, "n", *SCORES.values()]
    return Table(heading, rows, labels=len(summary.place_heading))


def _trained(setting: Setting) -> Result:
    return setting.result("refined" if "refined" in setting.methods else "coarse")


def _differences(one: Result, other: Result) -> tuple[list[str], int]:
    cells, count = [], 0
    for key in SCORES:
        ours, theirs = one.by_seed(key), other.by_seed(key)
        values = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
        count = max(count, len(values))
        cells.append(MeanStd(values).text("+", digits=2) if values else MISSING)
    return cells, count
