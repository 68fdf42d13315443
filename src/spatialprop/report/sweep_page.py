"""A multirun's table and figures, written beside its jobs."""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from spatialprop.report.affinity_sweep import NOTES, affinity_sweep_tables, draw_steps_of_settings
from spatialprop.report.canvas import BEFORE, INK, legend, line_colours, method_colours, percent_axis, plot_grid, save
from spatialprop.report.page import figure_html, page
from spatialprop.report.run import write_atomically
from spatialprop.report.sweep import Setting, Spread, Summary

_SPREAD = "Mean and standard deviation over the jobs of a setting, which differ in the seed only; in percent."


def write_summary(summary: Summary) -> Path:
    """Write a multirun's `report.json`, `report.md`, `report.html` and figures.

    Returns:
        Where the page was written.
    """
    folder = summary.folder
    drawn = [
        (
            "scores",
            "Every setting: mean and standard deviation, each job as a small dot",
            draw_scores(summary.settings),
        ),
        ("trimap", "IoU near borders, mean and standard deviation", draw_trimap_curves(summary.settings)),
        ("steps", "What more steps of propagation do", draw_steps_of_settings(summary.settings)),
    ]
    figures = [(save(figure, folder / "figures" / f"{name}.png"), caption) for name, caption, figure in drawn if figure]
    write_atomically(folder / "report.json", json.dumps(_plain(summary), indent=2) + "\n")
    write_atomically(folder / "report.md", _markdown(summary, figures))
    return write_atomically(folder / "report.html", page(summary.name, _sections(summary, figures)))


def draw_scores(settings: Sequence[Setting]) -> Figure | None:
    """Points with error bars: a row for each setting, a colour for each method."""
    titles = {"mIoU": "mIoU", "boundary_IoU": "Boundary IoU"}
    methods = list(dict.fromkeys(method for setting in settings for method in setting.methods))
    titles = {key: title for key, title in titles.items() if any(key in s.scores(m) for s in settings for m in methods)}
    if not titles:
        return None
    figure, panels = plot_grid(list(titles.values()), height=1.2 + len(settings) * max(0.45, 0.16 * len(methods)))
    colours = method_colours(methods)
    for axes, key in zip(panels, titles, strict=True):
        for row, setting in enumerate(settings):
            for place, method in enumerate(methods):
                spread = setting.scores(method).get(key)
                if spread is None:
                    continue
                height = row + 0.6 * ((place + 0.5) / len(methods) - 0.5)
                below = [height + 0.2 / len(methods)] * len(spread.values)
                axes.plot(
                    spread.values, below, "o", markersize=3.5, color=colours[method], alpha=0.5, markeredgewidth=0
                )
                axes.errorbar(
                    spread.mean, height, xerr=spread.deviation, fmt="D", color=colours[method], markersize=5,
                    capsize=3, linewidth=1.6,
                )  # fmt: skip
        axes.set_ylim(len(settings) - 0.5, -0.5)
        axes.set_yticks(
            range(len(settings)), [setting.name.replace(", ", "\n") for setting in settings], parse_math=False
        )
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelleft=axes is panels[0])
        percent_axis(axes.xaxis)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    patches = [(method, Patch(color=colours[method])) for method in methods]
    legend(figure, patches, "outside lower center")
    return figure


def draw_trimap_curves(settings: Sequence[Setting]) -> Figure | None:
    """Trimap IoU of every setting, refined in colour and coarse in grey, with a band of one standard deviation."""
    lines: list[tuple[str, str, dict[int, Spread]]] = []
    for setting, colour in zip(settings, line_colours(len(settings)), strict=True):
        lines += [("coarse", BEFORE, setting.trimap("coarse")), (setting.name, colour, setting.trimap("refined"))]
    lines = [(name, colour, curve) for name, colour, curve in lines if curve]
    if not lines:
        return None
    figure, [axes] = plot_grid(["trimap IoU"], height=4)
    for _, colour, curve in lines:
        radii, means = list(curve), [spread.mean for spread in curve.values()]
        low = [spread.mean - (spread.deviation or 0) for spread in curve.values()]
        high = [spread.mean + (spread.deviation or 0) for spread in curve.values()]
        axes.fill_between(radii, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(radii, means, "o-", color=colour, linewidth=2, markersize=4)
    axes.set_xlabel("distance from a border, pixels", fontsize=9, color=INK)
    axes.set_xticks(sorted({radius for _, _, curve in lines for radius in curve}))
    percent_axis(axes.yaxis)
    colours = {name: colour for name, colour, _ in lines}
    legend(figure, [(name, Patch(color=colour)) for name, colour in colours.items()], "outside lower center")
    return figure


def _markdown(summary: Summary, figures: Sequence[tuple[Path, str]]) -> str:
    parts = [f"# {summary.name}", summary.table().text() if summary.settings else "No job has a result.", _SPREAD]
    for title, table in affinity_sweep_tables(summary).items():
        parts += [f"## {title}", table.text(), NOTES[title]]
    if summary.failed:
        parts += ["## Without a result", summary.failures().text()]
    parts += [f"![{caption}](figures/{path.name})" for path, caption in figures]
    return "\n\n".join(parts) + "\n"


def _sections(summary: Summary, figures: Sequence[tuple[Path, str]]) -> list[str]:
    jobs = sum(len(setting.jobs) for setting in summary.settings)
    about = f"{len(summary.settings)} settings · {jobs} jobs" + (
        f" · {len(summary.failed)} without a result" if summary.failed else ""
    )
    sections = [f'<h1>{escape(summary.name)}</h1>\n<p class="soft">{about}</p>']
    if summary.settings:
        sections += ["<h2>Scores</h2>", summary.table().html(), f'<p class="soft">{_SPREAD}</p>']
    for title, table in affinity_sweep_tables(summary).items():
        sections += [f"<h2>{title}</h2>", table.html(), f'<p class="soft">{NOTES[title]}</p>']
    if summary.failed:
        sections += ["<h2>Without a result</h2>", summary.failures().html()]
    if figures:
        sections += ["<h2>Figures</h2>", *(figure_html(path, caption) for path, caption in figures)]
    links = "".join(
        f'<li><a href="{escape(job)}/report.html">{escape(f"{setting.name}, seed {seed}")}</a></li>'
        for setting in summary.settings
        for job, seed in zip(setting.jobs, setting.seeds, strict=True)
    )
    return [*sections, f"<h2>Jobs</h2>\n<ul>{links}</ul>"] if links else sections


def _plain(summary: Summary) -> dict[str, Any]:
    return {
        "columns": summary.columns,
        "settings": [
            {
                "overrides": setting.overrides,
                "jobs": setting.jobs,
                "seeds": setting.seeds,
                "methods": {
                    method: {key: _plain_spread(spread) for key, spread in setting.scores(method).items()}
                    | {"trimap_IoU": {str(r): _plain_spread(spread) for r, spread in setting.trimap(method).items()}}
                    for method in setting.methods
                },
            }
            for setting in summary.settings
        ],
        "failed": [{"job": job, "overrides": given, "reason": reason} for job, given, reason in summary.failed],
    }


def _plain_spread(spread: Spread) -> dict[str, Any]:
    return {"mean": spread.mean, "std": spread.deviation, "n": len(spread.values)}
