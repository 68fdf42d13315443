"""The content of a run's folder, as far as it exists: a run may have failed, or not be finished yet."""

import csv
import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml  # type: ignore[import-untyped]
from numpy.typing import NDArray

from spatialprop.data import VOID, LabelSet, read_label_set
from spatialprop.report.checking import check_texts, checked, parsed, read_arrays, read_text

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
Curves: TypeAlias = dict[str, tuple[list[float], list[float]]]  # column -> (steps, values)

METRICS = "metrics.json"
ORIGIN = "run"  # its entry that is no method: when, where and by which versions the scores were made
_PARTS = (METRICS, "config.yaml", ".hydra", "csv", "examples")


@dataclass(frozen=True)
class Run:
    """The content of a run's folder; missing parts are empty.

    Args:
        folder: The folder.
        config: The text of `config.yaml`.
        overrides: The overrides that the run was started with, such as "seed=2".
        labels: The classes of its data; numbers stand for names if `data.json` is missing.
        images: How many images its scores were taken on, None if unknown.
        metrics: Scores by method, in the order in which to show them.
        examples: Name and arrays of each image that the run saved.
        curves: Values logged in training, by column.
        segmenter_curves: Values logged in the training of its coarse model.
        origin: When, where and by which versions its scores were made.
    """

    folder: Path
    config: str
    overrides: tuple[str, ...]
    labels: LabelSet
    images: int | None
    metrics: dict[str, dict[str, Any]]
    examples: list[tuple[str, Arrays]]
    curves: Curves
    segmenter_curves: Curves
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last two parts of the folder's path: the run's name and time."""
        return "/".join(self.folder.resolve().parts[-2:])


def is_run(folder: Path) -> bool:
    """Whether anything of a run lies in a folder."""
    return any((folder / part).exists() for part in _PARTS)


def read_run(folder: str | Path) -> Run:
    """Read a run's folder.

    Raises:
        FileNotFoundError: There is no such folder, or nothing of a run in it.
        ValueError: One of its files cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give the folder that train.py printed last")
    if not is_run(folder):
        raise FileNotFoundError(
            f"{folder} is no run's folder: it holds none of {', '.join(_PARTS)}; "
            "give the folder that train.py printed, or multirun/<date>_<time>"
        )
    config = folder / "config.yaml"
    examples = _read_examples(folder / "examples")
    labels, images = _read_data(folder / "data.json", examples)
    return Run(
        folder=folder,
        config=_read_text(config, "replace") if config.is_file() else "",
        overrides=read_overrides(folder),
        labels=labels,
        images=images,
        metrics=read_metrics(folder),
        examples=examples,
        curves=read_curves(folder / "csv"),
        segmenter_curves=read_curves(folder / "csv_segmenter"),
        origin=_read_metrics(folder).get(ORIGIN, {}),
    )


def read_kinds(folder: Path, kinds: Iterable[str]) -> dict[str, list[tuple[str, Arrays]]]:
    """Name and arrays of each `<kind>_<rank>_<name>.npz` in a folder by kind, in order of their ranks."""
    found: dict[str, list[tuple[str, Arrays]]] = {kind: [] for kind in kinds}
    for path in sorted(folder.glob("*.npz"), key=natural_order):
        kind, _, rest = path.stem.partition("_")
        if kind in found and (arrays := _read_arrays(path)):
            found[kind].append((rest.partition("_")[2], arrays))
    return found


def read_overrides(folder: Path) -> tuple[str, ...]:
    """The overrides that a run was started with; none if there is no record of them."""
    path = folder / ".hydra" / "overrides.yaml"
    if not path.is_file():
        return ()
    try:
        overrides = yaml.safe_load(read_text(path)) or []
        check_texts(overrides)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(overrides, list) or any(isinstance(override, list | dict) for override in overrides):
        raise ValueError(f"{path} must hold a list of overrides, such as seed=2")
    return tuple(str(override) for override in overrides)


def read_metrics(folder: Path) -> dict[str, dict[str, Any]]:
    """Scores by method; none if the run has not come that far."""
    return {method: scores for method, scores in _read_metrics(folder).items() if method != ORIGIN}


def _read_metrics(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / METRICS
    metrics = _read_json(path) if path.is_file() else {}
    try:
        return checked(metrics)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; evaluate the run again") from None


def read_data_name(folder: Path) -> str:
    """Name of the data set that a run is about, empty if that is not written down."""
    path = folder / "data.json"
    return str(_read_json(path).get("name", "")) if path.is_file() else ""


def read_curves(folder: Path) -> Curves:
    """Read the columns of Lightning's `version_*/metrics.csv`, those of a resumed run as one.

    A later version starts from a checkpoint: it replaces the earlier one's values from that step on.
    """
    rows: list[dict[str, float]] = []
    for path in sorted(folder.glob("version_*/metrics.csv"), key=natural_order):
        version = [row for row in _read_numbers(path) if "step" in row]
        start = min((row["step"] for row in version), default=float("inf"))
        rows = [row for row in rows if row["step"] < start] + version
    curves: Curves = {}
    for row in sorted(rows, key=lambda row: row["step"]):
        for column, value in row.items():
            if column not in ("step", "epoch"):
                steps, values = curves.setdefault(column, ([], []))
                steps.append(row["step"])
                values.append(value)
    return curves


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A sorting key that puts 10 after 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return parsed(read_text(path))
    except ValueError as error:
        raise ValueError(f"{path} {error}; was the run cut off? Evaluate it again") from None


def _read_data(path: Path, examples: list[tuple[str, Arrays]]) -> tuple[LabelSet, int | None]:
    if not path.is_file():
        values = [arrays[key] for _, arrays in examples for key in ("label", "coarse", "refined") if key in arrays]
        highest = max((int(array[array != VOID].max(initial=0)) for array in values), default=0)
        return LabelSet("unknown data", tuple(f"class {index}" for index in range(highest + 1))), None
    images = _read_json(path).get("images")
    return read_label_set(path), images if isinstance(images, int) else None


def _read_examples(folder: Path) -> list[tuple[str, Arrays]]:
    paths = sorted(folder.glob("*.npz"), key=natural_order)
    return [(re.sub(r"^\d+_", "", path.stem), arrays) for path in paths if (arrays := _read_arrays(path))]


def _read_arrays(path: Path) -> Arrays:
    try:
        return read_arrays(path)
    except Exception as error:  # what a damaged archive raises is anything
        warnings.warn(f"{path} cannot be read ({error}) and is left out", stacklevel=3)
        return {}


def _read_numbers(path: Path) -> list[dict[str, float]]:
    try:
        return [
            {column: float(cell) for column, cell in row.items() if column and _is_number(cell)}
            for row in csv.DictReader(io.StringIO(_read_text(path, "replace"), newline=""))
        ]
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _read_text(path: Path, errors: str) -> str:
    try:
        return read_text(path, errors)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def _is_number(cell: object) -> bool:
    try:
        return not math.isinf(float(str(cell)))
    except ValueError:
        return False
