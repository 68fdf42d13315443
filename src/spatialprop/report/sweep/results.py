"""The scores of a method in the jobs of a multirun: mean and standard deviation."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, TypeVar

from spatialprop.report.tables import SCORES, VALUES, is_number, rounded, trimap

# Of the same job, so that they are free of the scatter between seeds.
GAIN, BOUNDARY_GAIN = "mIoU_over_coarse", "boundary_IoU_over_coarse"
Metrics = Mapping[str, Mapping[str, Any]]
Key = TypeVar("Key", str, int)


@dataclass(frozen=True)
class MeanStd:
    """The values that the jobs of a setting have: mean and standard deviation.

    Example:
        >>> MeanStd([0.7, 0.8, 0.9]).text()
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

    def text(self, sign: str = "", scale: float = 100, digits: int = 1) -> str:
        """Mean and deviation, in percent unless another scale is given, with a sign if it is "+"."""
        deviation = "" if self.deviation is None else f" ± {rounded(scale * self.deviation, digits)}"
        return f"{rounded(scale * self.mean, digits, sign)}{deviation}"

    def plain(self) -> dict[str, Any]:
        """As numbers, for `report.json`."""
        return {"mean": self.mean, "std": self.deviation, "n": len(self.values)}


@dataclass(frozen=True)
class Result:
    """The scores of a method under one setting, or on a whole data set where no setting changes it.

    Args:
        method: Its name.
        data: The data set, empty where there is only one.
        overrides: The setting, empty where none changes the method.
        metrics: All scores of a job for each seed.
        milliseconds: Time for an image in each job, of one seed or not.
    """

    method: str
    data: str
    overrides: dict[str, str]
    metrics: dict[str, dict[str, dict[str, Any]]]
    milliseconds: Sequence[float]

    @property
    def distinct(self) -> list[dict[str, dict[str, Any]]]:
        """A job for each seed, or a single one where the seed changes nothing."""
        jobs = list(self.metrics.values())
        same = all(outcome(job, self.method) == outcome(jobs[0], self.method) for job in jobs)
        return jobs[:1] if same else jobs

    def by_seed(self, key: str) -> dict[str, float]:
        """One score, or gain, for each seed that has it."""
        found = {seed: scores_of(metrics, self.method) for seed, metrics in self.metrics.items()}
        return {seed: scores[key] for seed, scores in found.items() if key in scores}

    def scores(self) -> dict[str, MeanStd]:
        """Each score, and the gains of mIoU and Boundary IoU over the coarse ones."""
        return _means(scores_of(metrics, self.method) for metrics in self.distinct)

    def trimap(self) -> dict[int, MeanStd]:
        """Trimap IoU by radius."""
        return _means(trimap(metrics[self.method]) for metrics in self.distinct)

    def trimap_gain(self) -> dict[int, MeanStd]:
        """The gain in trimap IoU over the coarse one of the same job, by radius."""
        return _means(_trimap_gain(metrics, self.method) for metrics in self.distinct)


def scores_of(metrics: Metrics, method: str) -> dict[str, float]:
    """The scores of a method in a job, its changes, and its gains over the coarse maps."""
    own, coarse = metrics[method], metrics.get("coarse", {})
    known = {**{key: own.get(key) for key in (*SCORES, *VALUES)}, **(own.get("changes") or {})}
    scores = {key: value for key, value in known.items() if is_number(value)}
    for gain, key in ((GAIN, "mIoU"), (BOUNDARY_GAIN, "boundary_IoU")):
        before = coarse.get(key)
        if method != "coarse" and key in scores and is_number(before):
            scores[gain] = scores[key] - before
    return scores


def _trimap_gain(metrics: Metrics, method: str) -> dict[int, float]:
    before = trimap(metrics.get("coarse", {}))
    return {radius: value - before[radius] for radius, value in trimap(metrics[method]).items() if radius in before}


def outcome(metrics: Metrics, method: str) -> tuple[Any, ...]:
    """A key that differs between two results of a method: its scores and its gains, without its time.

    Two seeds may give a method the same scores and yet another gain, over other coarse maps.
    """
    scores = scores_of(metrics, method)
    own = (metrics[method].get(key) for key in (*SCORES, *VALUES, "per_class_IoU", "trimap_IoU"))
    return (*own, scores.get(GAIN), scores.get(BOUNDARY_GAIN), _trimap_gain(metrics, method))


def milliseconds_of(jobs: Iterable[Metrics], method: str) -> list[float]:
    """The time of a method for an image in each job that has measured it."""
    return [time for metrics in jobs if is_number(time := metrics[method].get("milliseconds"))]


def _means(jobs: Iterable[Mapping[Key, float]]) -> dict[Key, MeanStd]:
    values: dict[Key, list[float]] = {}
    for job in jobs:
        for key, value in job.items():
            values.setdefault(key, []).append(value)
    return {key: MeanStd(found) for key, found in values.items()}
