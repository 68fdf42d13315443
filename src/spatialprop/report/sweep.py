"""What a multirun found: mean and standard deviation over seeds for each setting."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeVar

from spatialprop.report.run import METRICS, is_run, natural_order, read_metrics, read_overrides
from spatialprop.report.tables import MISSING, SCORES, Table, is_number, nearest_radius, trimap

GAIN = "mIoU_over_coarse"  # of the same job, so that it is free of the scatter between seeds
Key = TypeVar("Key", str, int)


@dataclass(frozen=True)
class Spread:
    """Values of the jobs of a setting: their mean, and how far they lie apart.

    Example:
        >>> Spread([0.7, 0.8, 0.9]).text()
        '80.0 ± 10.0'
    """

    values: Sequence[float]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the sample, None for a single value."""
        return stdev(self.values) if len(self.values) > 1 else None

    def text(self, sign: str = "") -> str:
        """Mean and deviation in percent, with a sign if it is "+"."""
        spread = "" if self.deviation is None else f" ± {100 * self.deviation:.1f}"
        return f"{100 * self.mean:{sign}.1f}{spread}"


@dataclass(frozen=True)
class Setting:
    """Jobs that differ in nothing but their seed.

    Args:
        overrides: What sets these jobs apart from those of other settings.
        jobs: Names of their folders.
        seeds: Their seeds, as they were written.
        metrics: What each of them scored.
    """

    overrides: dict[str, str]
    jobs: list[str] = field(default_factory=list)
    seeds: list[str] = field(default_factory=list)
    metrics: list[dict[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in self.overrides.items()) or "default"

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(method for metrics in self.metrics for method in metrics))

    def scores(self, method: str) -> dict[str, Spread]:
        """Each score of a method over the jobs that have it, and how far its mIoU lies over the coarse one."""
        return _spreads(_scores(metrics, method) for metrics in self.metrics)

    def trimap(self, method: str) -> dict[int, Spread]:
        """Trimap IoU of a method by radius."""
        return _spreads(trimap(metrics.get(method, {})) for metrics in self.metrics)


@dataclass(frozen=True)
class Summary:
    """The settings of a multirun that have results, and the jobs that have none.

    Args:
        folder: Where it was read from.
        columns: The overrides that differ between settings.
        settings: One for each combination of overrides but the seed, in the order of their first jobs.
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

    def table(self, radius: int = 3) -> Table:
        """One row for each setting and method, with trimap IoU at the radius nearest to the given one."""
        near = nearest_radius([scores for setting in self.settings for metrics in setting.metrics
                               for scores in metrics.values()], radius)  # fmt: skip
        rows = []
        for setting in self.settings:
            places = [setting.overrides.get(column, MISSING) for column in self.columns]
            for method in setting.methods:
                scores = setting.scores(method)
                jobs = sum(method in metrics for metrics in setting.metrics)
                cells = [scores[key].text() if key in scores else MISSING for key in SCORES]
                gain = scores[GAIN].text("+") if GAIN in scores else MISSING
                curve = setting.trimap(method)
                border = curve[near].text() if near in curve else MISSING
                rows.append([*places, method, str(jobs), cells[0], gain, *cells[1:], border])
        first, *others = SCORES.values()
        heading = [*self.columns, "method", "n", first, f"{first} over coarse", *others, f"trimap IoU {near} px"]
        return Table(heading, rows, labels=len(self.columns) + 1)

    def failures(self) -> Table:
        """The jobs without a result."""
        return Table(["job", "overrides", "what is wrong"], self.failed, labels=3)


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
    all_overrides = {job: _parsed(read_overrides(job)) for job in jobs}
    keys = dict.fromkeys(key for overrides in all_overrides.values() for key in overrides if key != "seed")
    columns = [key for key in keys if len({overrides.get(key) for overrides in all_overrides.values()}) > 1]
    settings: dict[tuple[tuple[str, str], ...], Setting] = {}
    failed = []
    for job, overrides in all_overrides.items():
        metrics, reason = _result(job)
        if reason:
            failed.append((job.name, " ".join(read_overrides(job)), reason))
            continue
        place = {column: overrides[column] for column in columns if column in overrides}
        setting = settings.setdefault(tuple(place.items()), Setting(place))
        setting.jobs.append(job.name)
        setting.seeds.append(overrides.get("seed", MISSING))
        setting.metrics.append(metrics)
    return Summary(folder, columns, list(settings.values()), failed)


def _job_folders(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if path.is_dir() and is_run(path))


def _result(job: Path) -> tuple[dict[str, dict[str, Any]], str]:
    try:
        metrics = read_metrics(job)
    except ValueError as error:
        return {}, str(error)
    return metrics, "" if metrics else f"no {METRICS}: it failed, or has not finished"


def _parsed(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs}


def _scores(metrics: Mapping[str, Mapping[str, Any]], method: str) -> dict[str, float]:
    scores = {key: value for key in SCORES if is_number(value := metrics.get(method, {}).get(key))}
    before = metrics.get("coarse", {}).get("mIoU")
    if method != "coarse" and "mIoU" in scores and is_number(before):
        scores[GAIN] = scores["mIoU"] - before
    return scores


def _spreads(jobs: Iterable[Mapping[Key, float]]) -> dict[Key, Spread]:
    values: dict[Key, list[float]] = {}
    for job in jobs:
        for key, value in job.items():
            values.setdefault(key, []).append(value)
    return {key: Spread(found) for key, found in values.items()}
