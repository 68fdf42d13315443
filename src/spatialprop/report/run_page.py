"""A run's page."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spatialprop.data import LabelSet
from spatialprop.files import write_file
from spatialprop.report.dilated import NOTES, affinity_tables, write_affinity_figures
from spatialprop.report.figures import write_figures
from spatialprop.report.helen import NOTE as HELEN_NOTE
from spatialprop.report.helen import helen_tables
from spatialprop.report.page import embedded, page, sliders
from spatialprop.report.run import METRICS, Run, read_run
from spatialprop.report.tables import VALUES, Table, comparison_table, is_number, percent

_SLIDERS = 4
_ORIGIN = {"started": "started", "seconds": "time", "machine": "machine", "commit": "commit", "versions": "versions"}
_HOW_VALUES = (
    "ms per image; scores are means over images. SAD, gradient and connectivity error are sums over the unknown "
    "pixels, in thousands; PSNR and SSIM are those of the whole picture. A click on a heading sorts."
)


def write_report(folder: str | Path) -> Path:
    """Draw a run's figures and write its `report.html`, from the files in its folder alone.

    Returns:
        Where the page was written.
    """
    run = read_run(folder)
    figures = write_figures(run) + write_affinity_figures(run)
    about = [run.labels.name, *([f"{run.images} images"] if run.images else []), f"{len(run.labels.classes)} classes"]
    if _of_values(run.metrics):  # its classes are channels
        about[-1] = f"values: {', '.join(run.labels.classes)}"
    faces = {title: (table, "") for title, table in helen_tables(run.metrics).items()}
    if faces:
        faces[list(faces)[-1]] = (faces[list(faces)[-1]][0], HELEN_NOTE)
    html = page(
        "run.html",
        run.name,
        about=about,
        scores=comparison_table(run.metrics) if run.metrics else None,
        headline=_headline(run.metrics),
        sliders=sliders(run.examples[:_SLIDERS]),
        how_scored=_HOW_VALUES if _of_values(run.metrics) else _how_scored(run.labels),
        classes=class_table(run.metrics, run.labels),
        tables=faces | {title: (table, NOTES[title]) for title, table in affinity_tables(run.metrics).items()},
        metrics_file=METRICS,
        figures=embedded(figures),
        commands=_commands(run),
        origin=_origin(run.origin),
        config=run.config,
    )
    return write_file(run.folder / "report.html", html)


def class_table(metrics: Mapping[str, Mapping[str, Any]], labels: LabelSet) -> Table | None:
    """IoU of every class that occurs, a row each; None where no method has any.

    Example:
        >>> labels = LabelSet("two", ("sky", "road"))
        >>> print(class_table({"coarse": {"per_class_IoU": [0.5, None]}}, labels).text())
        | class | coarse |
        |-------|-------:|
        | sky   |   50.0 |
    """
    known = {method: scores["per_class_IoU"] for method, scores in metrics.items() if scores.get("per_class_IoU")}
    rows = []
    for index, name in enumerate(labels.classes):
        values = [found[index] if index < len(found) else None for found in known.values()]
        if any(map(is_number, values)):
            rows.append([name, *map(percent, values)])
    return Table(["class", *known], rows) if rows else None


def _commands(run: Run) -> str:
    folder = str(Path(*run.folder.resolve().parts[-3:]))  # outputs/<name>/<time>
    if any(override.startswith("run=") for override in run.overrides):  # an evaluation, below the run that it is of
        folder = str(run.folder.resolve())
        made_by = [["python", "evaluate.py", *run.overrides]]
    else:
        made_by = [["python", "train.py", *run.overrides], ["python", "evaluate.py", f"run={folder}"]]
    return "\n".join(map(shlex.join, [*made_by, ["spatialprop", "report", folder]]))


def _origin(origin: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a run's scores come from, as its `metrics.json` says."""
    shown = dict(origin)
    if is_number(seconds := shown.get("seconds")):
        minutes, rest = divmod(round(seconds), 60)
        shown["seconds"] = f"{minutes} min {rest} s"
    if isinstance(versions := shown.get("versions"), Mapping):
        shown["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [(title, str(shown[key])) for key, title in _ORIGIN.items() if shown.get(key)]


def _headline(metrics: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    before, after = metrics.get("coarse", {}), metrics.get("refined", {})
    tiles = []
    for key, heading in (("mIoU", "mIoU"), ("boundary_IoU", "Boundary IoU"), ("pixel_accuracy", "Pixel accuracy")):
        old, new = before.get(key), after.get(key)
        if is_number(old) and is_number(new):
            side = "above" if new >= old else "below"
            tiles.append((heading, percent(new), f"{percent(abs(new - old))} {side} coarse"))
        elif is_number(old):
            tiles.append((heading, percent(old), "coarse"))
    changes = after.get("changes") or {}
    if is_number(changes.get("changed")):
        right = f"{percent(changes['right'])}% of them rightly" if is_number(changes.get("right")) else ""
        tiles.append(("Pixels changed", percent(changes["changed"]), right))
    return tiles


def _of_values(metrics: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a task of values was scored, such as mattes or colours, and not one of classes."""
    return any(VALUES.keys() & scores.keys() for scores in metrics.values())


def _how_scored(labels: LabelSet) -> str:
    everything = len(labels.scored) == len(labels.classes)
    over = "all classes" if everything else ", ".join(labels.classes[index] for index in labels.scored)
    return (
        f"In percent, ms per image. mIoU, mean accuracy and Boundary IoU are means over {over}. Changed: share of all "
        "pixels; rightly and wrongly: shares of those that were wrong and are right, and the reverse. Bold: the "
        "highest, the oracle left out. A click on a heading sorts."
    )
