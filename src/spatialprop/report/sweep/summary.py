"""The jobs of a multirun, grouped by setting and data set."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatialprop.report.checking import read_text
from spatialprop.report.run import METRICS, is_run, natural_order, read_data_name, read_metrics, read_overrides
from spatialprop.report.sweep.results import GAIN, MeanStd, Result, milliseconds_of, outcome
from spatialprop.report.tables import CHANGES, MISSING, SCORES, VALUES, Table, nearest_radius


@dataclass(frozen=True)
class Setting:
    """Jobs that differ in nothing but their seed.

    Args:
        overrides: What sets these jobs apart from those of other settings.
        data: Their data set, empty where all jobs of the multirun share one.
        jobs: Names of their folders.
        seeds: Their seeds, as they were written.
        metrics: The scores of each.
    """

    overrides: dict[str, str]
    data: str = ""
    jobs: list[str] = field(default_factory=list)
    seeds: list[str] = field(default_factory=list)
    metrics: list[dict[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        chosen = [f"{key.rpartition('.')[2]}={value}" for key, value in self.overrides.items()]
        return ", ".join([*([self.data] if self.data else []), *chosen]) or "default"

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(method for metrics in self.metrics for method in metrics))

    def result(self, method: str) -> Result:
        """The scores of a method in these jobs."""
        jobs = [(seed, one) for seed, one in zip(self.seeds, self.metrics, strict=True) if method in one]
        return Result(method, self.data, self.overrides, dict(jobs), milliseconds_of((one for _, one in jobs), method))


@dataclass(frozen=True)
class Summary:
    """The settings of a multirun that have results, and the jobs that have none.

    Args:
        folder: Where it was read from.
        columns: The overrides that differ between settings on one data set.
        settings: One for each combination of data set and overrides but the seed, in the order of their first jobs.
        failed: Job, its overrides, and the reason.
    """

    folder: Path
    columns: list[str]
    settings: list[Setting]
    failed: list[tuple[str, str, str]]

    @property
    def name(self) -> str:
        """The last two parts of the folder's path."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def sets(self) -> list[str]:
        """The data sets; one without a name where all jobs share it."""
        return list(dict.fromkeys(setting.data for setting in self.settings))

    @property
    def place_heading(self) -> list[str]:
        """The headings of the columns of `places`."""
        return ["set", *self.columns] if len(self.sets) > 1 else self.columns

    def places(self, row: Setting | Result) -> list[str]:
        """The data set and overrides of a row."""
        chosen = [row.overrides.get(column, MISSING) for column in self.columns]
        return [row.data, *chosen] if len(self.sets) > 1 else chosen

    def results(self) -> list[Result]:
        """Set by set: methods that no setting changes once, then those of each setting."""
        methods = dict.fromkeys(method for setting in self.settings for method in setting.methods)
        unchanged = [method for method in methods if self._is_unchanged(method)]
        found = []
        for data in self.sets:
            settings = [setting for setting in self.settings if setting.data == data]
            joined = Setting(
                {},
                data,
                seeds=[seed for setting in settings for seed in setting.seeds],
                metrics=[metrics for setting in settings for metrics in setting.metrics],
            )
            found += [joined.result(method) for method in unchanged if method in joined.methods]
            found += [
                setting.result(method) for setting in settings for method in setting.methods if method not in unchanged
            ]
        return found

    def table(self, radius: int = 3) -> Table:
        """One row for each result, with trimap IoU at the radius nearest to the given one."""
        near = nearest_radius([scores for setting in self.settings for metrics in setting.metrics
                               for scores in metrics.values()], radius)  # fmt: skip
        first, *others = SCORES.values()
        columns: dict[str, list[str]] = {first: [], f"{first} over coarse": []}
        values = [heading for heading, _ in VALUES.values()]
        columns |= {heading: [] for heading in (*others, f"trimap IoU {near} px", *CHANGES.values(), *values, "ms")}
        labels = []
        for result in self.results():
            scores, times = result.scores(), MeanStd(result.milliseconds)
            gain, curve = scores.get(GAIN), result.trimap()
            texts = [scores[key].text() if key in scores else MISSING for key in SCORES]
            texts[1:1] = [gain.text("+") if gain else MISSING]
            texts.append(curve[near].text() if near in curve else MISSING)
            texts += [scores[key].text() if key in scores else MISSING for key in CHANGES]
            texts += [
                scores[key].text(scale=factor, digits=3) if key in scores else MISSING
                for key, (_, factor) in VALUES.items()
            ]
            texts.append(times.text(scale=1) if times.values else MISSING)
            for cells, text in zip(columns.values(), texts, strict=True):
                cells.append(text)
            labels.append([*self.places(result), result.method, str(len(result.distinct))])
        known = {heading: cells for heading, cells in columns.items() if set(cells) != {MISSING}}
        rows = [[*label, *cells] for label, *cells in zip(labels, *known.values(), strict=True)]
        table = Table([*self.place_heading, "method", "n", *known], rows, labels=len(self.place_heading) + 1)
        return table.with_best([*SCORES.values(), f"{first} over coarse", f"trimap IoU {near} px"], group="set")

    def failures(self) -> Table:
        """The jobs without a result."""
        return Table(["job", "overrides", "what is wrong"], self.failed, labels=3)

    def _is_unchanged(self, method: str) -> bool:
        """Whether a method scored the same under all settings, set by set and seed by seed.

        That takes settings to compare: each must share a seed with another one on its set, if there is another one.
        """
        compared = False
        for data in self.sets:
            outcomes = [
                {seed: outcome(metrics, method) for seed, metrics in zip(setting.seeds, setting.metrics, strict=True)
                 if method in metrics}
                for setting in self.settings
                if setting.data == data and method in setting.methods
            ]  # fmt: skip
            for place, one in enumerate(outcomes):
                others = outcomes[:place] + outcomes[place + 1 :]
                shared = [(one[seed], other[seed]) for other in others for seed in one.keys() & other.keys()]
                if any(ours != theirs for ours, theirs in shared) or (others and not shared):
                    return False
                compared |= bool(shared)
        return compared


def is_multirun(folder: Path) -> bool:
    """Whether a folder holds the folders of jobs."""
    return any(True for _ in _job_folders(folder))


def summarise(folder: str | Path) -> Summary:
    """Read the jobs of a multirun and put those together that differ in nothing but the seed.

    Raises:
        FileNotFoundError: There is no such folder, or no jobs in it.
    """
    folder = Path(folder)
    jobs = sorted(_job_folders(folder), key=natural_order)
    if not jobs:
        raise FileNotFoundError(f"{folder} holds no jobs; give the folder that `train.py --multirun` printed")
    overrides = {job: _parsed(read_overrides(job)) for job in jobs}
    results = {job: _result(job) for job in jobs}
    columns = _columns([(results[job][0], overrides[job]) for job in jobs])
    several = len({data for data, _, reason in results.values() if not reason}) > 1
    settings: dict[tuple[str, tuple[tuple[str, str], ...]], Setting] = {}
    failed = []
    for job, (data, metrics, reason) in results.items():
        if reason:
            failed.append((job.name, " ".join(read_overrides(job)), reason))
            continue
        place = {column: overrides[job][column] for column in columns if column in overrides[job]}
        setting = settings.setdefault((data, tuple(place.items())), Setting(place, data if several else ""))
        setting.jobs.append(job.name)
        setting.seeds.append(overrides[job].get("seed", MISSING))
        setting.metrics.append(metrics)
    return Summary(folder, columns, list(settings.values()), failed)


def _columns(jobs: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    """The overrides, except the seed, that differ between jobs on one data set."""
    keys = dict.fromkeys(key for _, overrides in jobs for key in overrides if key != "seed")
    found = {data: [overrides for name, overrides in jobs if name == data] for data, _ in jobs}
    return [key for key in keys if any(len({one.get(key) for one in on_one}) > 1 for on_one in found.values())]


def _job_folders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if path.is_dir() and is_run(path))


def _result(job: Path) -> tuple[str, dict[str, dict[str, Any]], str]:
    """A job's data set, its scores, and the problem if there are none."""
    data = ""
    try:
        data, metrics = read_data_name(job), read_metrics(job)
    except ValueError as error:
        return data, {}, str(error)
    return data, metrics, "" if metrics else f"no {METRICS}: {_last_words(job)}"


def _last_words(job: Path) -> str:
    """The last line of a job's log: the error, if it failed."""
    log = job / "train.log"
    try:
        said = read_text(log, "replace").split("\n") if log.exists() else []
    except ValueError as error:
        return f"{log.name} {error}"
    return next((line for line in reversed(said) if line.strip()), "it failed, or has not finished")


def _parsed(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}
