"""A multirun's tables and figures, written beside its jobs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spatialprop.files import write_file, write_json
from spatialprop.report.canvas import save
from spatialprop.report.page import embedded, page
from spatialprop.report.sweep.average import GAINS, average_table, averages
from spatialprop.report.sweep.average import NOTE as AVERAGE_NOTE
from spatialprop.report.sweep.average import TITLE as AVERAGE
from spatialprop.report.sweep.differences import NOTE as DIFFERENCES_NOTE
from spatialprop.report.sweep.differences import TITLE as DIFFERENCES
from spatialprop.report.sweep.differences import difference_table
from spatialprop.report.sweep.dilated import (
    NOTES,
    affinity_sweep_numbers,
    affinity_sweep_tables,
    draw_steps_of_settings,
)
from spatialprop.report.sweep.figures import draw_sets
from spatialprop.report.sweep.results import MeanStd, Result, scores_of
from spatialprop.report.sweep.summary import Summary
from spatialprop.report.tables import Table

SCORES = "Scores"
_SPREAD = (
    "Mean and standard deviation over the jobs of a setting, which differ in the seed only; in percent, ms per image. "
    "A method that no setting changes stands there once; n: results that differ. Changed: share of all pixels; "
    "rightly and wrongly: shares of those."
)


def write_summary(summary: Summary) -> Path:
    """Write a multirun's `report.json`, `report.md`, `report.html` and figures.

    Returns:
        Where the page was written.
    """
    folder = summary.folder
    drawn = [
        *draw_sets(summary),
        ("steps", "Gain after each number of steps of propagation", draw_steps_of_settings(summary.settings)),
    ]
    figures = [(save(figure, folder / "figures" / f"{name}.png"), caption) for name, caption, figure in drawn if figure]
    write_json(folder / "report.json", _plain(summary))
    write_file(folder / "report.md", _markdown(summary, figures))
    return write_file(folder / "report.html", _page(summary, figures))


def sweep_tables(summary: Summary) -> dict[str, tuple[Table, str]]:
    """All tables that the jobs have numbers for, each with a note, by title."""
    if not summary.settings:
        return {}
    tables = {SCORES: (summary.table(), _SPREAD)}
    if (differences := difference_table(summary)).rows:
        tables[DIFFERENCES] = (differences, DIFFERENCES_NOTE)
    if len(summary.sets) > 1:
        tables[AVERAGE] = (average_table(summary), AVERAGE_NOTE)
    return tables | {title: (table, NOTES[title]) for title, table in affinity_sweep_tables(summary).items()}


def _markdown(summary: Summary, figures: Sequence[tuple[Path, str]]) -> str:
    parts = [f"# {summary.name}", *([] if summary.settings else ["No job has a result."])]
    for title, (table, note) in sweep_tables(summary).items():
        parts += [f"## {title}", table.text(), note]
    if summary.failed:
        parts += ["## Without a result", summary.failures().text()]
    parts += [f"![{caption}](figures/{path.name})" for path, caption in figures]
    return "\n\n".join(parts) + "\n"


def _page(summary: Summary, figures: Sequence[tuple[Path, str]]) -> str:
    jobs = sum(len(setting.jobs) for setting in summary.settings)
    about = [f"{len(summary.settings)} settings", f"{jobs} jobs"]
    tables = sweep_tables(summary)
    if summary.failed:
        about.append(f"{len(summary.failed)} without a result")
        tables["Without a result"] = (summary.failures(), "")
    links = [
        (quote(f"./{job}"), f"{setting.name}, seed {seed}")
        for setting in summary.settings
        for job, seed in zip(setting.jobs, setting.seeds, strict=True)
    ]
    shown = embedded(figures)
    return page("sweep.html", summary.name, about=about, tables=tables, figures=shown, links=links, links_title="Jobs")


def _plain(summary: Summary) -> dict[str, Any]:
    return {
        "columns": summary.columns,
        "settings": [
            {
                "set": setting.data,
                "overrides": setting.overrides,
                "jobs": setting.jobs,
                "seeds": setting.seeds,
                "methods": {method: _plain_result(setting.result(method)) for method in setting.methods},
            }
            for setting in summary.settings
        ],
        "averages": [
            {
                "method": average.method,
                "overrides": average.overrides,
                "sets": list(average.results),
                **{key: gain.plain() for key in GAINS if (gain := average.gain(key))},
            }
            for average in averages(summary)
        ],
        "tables": affinity_sweep_numbers(summary),
        "failed": [{"job": job, "overrides": given, "reason": reason} for job, given, reason in summary.failed],
    }


def _plain_result(result: Result) -> dict[str, Any]:
    scores = {key: score.plain() for key, score in result.scores().items()}
    trimaps = {str(radius): score.plain() for radius, score in result.trimap().items()}
    times = {"milliseconds": MeanStd(result.milliseconds).plain()} if result.milliseconds else {}
    by_seed = {seed: scores_of(metrics, result.method) for seed, metrics in result.metrics.items()}
    return {**scores, "trimap_IoU": trimaps, **times, "by_seed": by_seed}
