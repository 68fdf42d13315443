"""Several refinements on the coarse maps of several segmenters, as the paper's Tables 3 and 4 show them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spatialprop.files import write_file, write_json
from spatialprop.report.checking import check_name, parsed, read_text
from spatialprop.report.helen import NOTE as HELEN_NOTE
from spatialprop.report.helen import helen_tables
from spatialprop.report.page import page
from spatialprop.report.run import read_metrics
from spatialprop.report.tables import Table, percent

RESULTS = "universal.json"
TITLE = "Universal refinement"
_SCORES = {"pixel_accuracy": "overall accuracy", "mean_accuracy": "mean accuracy", "mIoU": "mean IoU"}
_NOTE = "In percent. Each segmenter's coarse maps and their refinements; nothing was fine-tuned on any of them."

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]  # source -> method -> scores


def universal_tables(results: Results) -> dict[str, Table]:
    """The paper's table, and HELEN's where the data are faces.

    Example:
        >>> scores = {"pixel_accuracy": 0.9122, "mean_accuracy": 0.7761, "mIoU": 0.6551}
        >>> better = {"pixel_accuracy": 0.9290, "mean_accuracy": 0.7949, "mIoU": 0.6986}
        >>> print(universal_tables({"fcn8s": {"coarse": scores, "three_way": better}})["Universal refinement"].text())
        | model             | overall accuracy | mean accuracy | mean IoU |
        |-------------------|-----------------:|--------------:|---------:|
        | fcn8s             |            91.22 |         77.61 |    65.51 |
        | fcn8s + three_way |            92.90 |         79.49 |    69.86 |
    """
    models = {
        source if method == "coarse" else f"{source} + {method}": scores
        for source, metrics in results.items()
        for method, scores in metrics.items()
        if not method.startswith("oracle")  # it is shown the truth, and stays in the report of its source
    }
    rows = [[model, *(percent(scores.get(key), digits=2) for key in _SCORES)] for model, scores in models.items()]
    return {TITLE: Table(["model", *_SCORES.values()], rows), **helen_tables(models)}


def write_universal(folder: Path, results: Results) -> Path:
    """Write the tables as `universal.json`, `universal.md` and `report.html`.

    Returns:
        Where the page was written.
    """
    write_json(folder / RESULTS, results)
    tables = universal_tables(results)
    notes = [_NOTE, *([HELEN_NOTE] if len(tables) > 1 else [])]
    parts = [part for title, table in tables.items() for part in (f"## {title}", table.text())]
    write_file(folder / "universal.md", "\n\n".join([f"# {_name(folder)}", *parts, *notes]) + "\n")
    last = list(tables)[-1]
    html = page(
        "sweep.html",
        _name(folder),
        about=[],
        tables={title: (table, " ".join(notes) if title == last else "") for title, table in tables.items()},
        figures=[],
        links=[(quote(f"./{source}"), source) for source in results],
        links_title="Each segmenter",
    )
    return write_file(folder / "report.html", html)


def is_universal(folder: Path) -> bool:
    """Whether a folder holds such tables."""
    return (folder / RESULTS).is_file()


def read_universal(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The scores by source and method that lie in the folders of the sources."""
    path = folder / RESULTS
    try:
        sources = list(parsed(read_text(path)))
        for source in sources:
            check_name(source, folder)
    except ValueError as error:
        raise ValueError(f"{path} {error}; was the evaluation cut off? Run it again") from None
    return {source: read_metrics(folder / source) for source in sources}


def _name(folder: Path) -> str:
    return "/".join(folder.resolve().parts[-2:])
