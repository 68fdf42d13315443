"""A run's page: one HTML file without external files."""

import base64
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from spatialprop.files import write_file
from spatialprop.report.dilated import NOTES, affinity_tables, write_affinity_figures
from spatialprop.report.figures import write_figures
from spatialprop.report.helen import NOTE as HELEN_NOTE
from spatialprop.report.helen import helen_tables
from spatialprop.report.run import METRICS, Run, read_run
from spatialprop.report.tables import VALUES, comparison_table, is_number, percent

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --ground: #fff; --tint: #f6f8fa;
  --accent: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --ground: #0d1117;
  --tint: #151b23; --accent: #4493f8; } }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 62rem; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.6rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); font-size: 1.2rem; }
p { margin: .4rem 0; } .soft, figcaption { color: var(--soft); } a { color: var(--accent); }
.numbers { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.4rem 0; padding: 0; }
.numbers div { flex: 1 1 9rem; padding: .7rem 1rem; border: 1px solid var(--line); border-radius: 8px;
  background: var(--tint); }
.numbers dt { color: var(--soft); font-size: .85rem; }
.numbers dd { margin: 0; font-size: 1.55rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.numbers small { display: block; font-size: .85rem; font-weight: 400; color: var(--soft); }
.table { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .93rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .55rem; border-bottom: 1px solid var(--line); text-align: left; }
th { color: var(--soft); font-size: .85rem; font-weight: 600; vertical-align: bottom; }
td.number { white-space: nowrap; } .number { text-align: right; } tbody tr:hover { background: var(--tint); }
figure { margin: 0 0 1.8rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; box-sizing: border-box; padding: 10px;
  border: 1px solid var(--line); border-radius: 8px; background: #fff; }
figcaption { margin-top: .45rem; font-size: .9rem; text-align: center; }
pre { overflow-x: auto; padding: .8rem 1rem; border: 1px solid var(--line); border-radius: 8px; background: var(--tint);
  font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
summary { cursor: pointer; }
"""


def write_report(folder: str | Path) -> Path:
    """Draw a run's figures and write its `report.html`, from the files in its folder alone.

    Returns:
        Where the page was written.
    """
    run = read_run(folder)
    figures = write_figures(run) + write_affinity_figures(run)
    return write_file(run.folder / "report.html", page(run.name, _sections(run, figures)))


def page(title: str, sections: Sequence[str]) -> str:
    """A whole HTML page around sections that are HTML already."""
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def figure_html(path: Path, caption: str) -> str:
    """A figure that holds its picture."""
    content = base64.b64encode(path.read_bytes()).decode()
    text = escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{content}"><figcaption>{text}</figcaption></figure>'


def _sections(run: Run, figures: Sequence[tuple[Path, str]]) -> list[str]:
    about = [run.labels.name, *([f"{run.images} images"] if run.images else []), f"{len(run.labels.classes)} classes"]
    if any(VALUES.keys() & scores.keys() for scores in run.metrics.values()):  # its classes are channels
        about[-1] = f"values: {', '.join(run.labels.classes)}"
    sections = [f'<h1>{escape(run.name)}</h1>\n<p class="soft">{escape(" · ".join(about))}</p>']
    if run.metrics:
        sections += [_headline(run), "<h2>Scores</h2>", comparison_table(run.metrics).html(), _how_scored(run)]
        faces = helen_tables(run.metrics)
        for title, table in faces.items():
            sections += [f"<h2>{title}</h2>", table.html()]
        if faces:
            sections.append(f'<p class="soft">{HELEN_NOTE}</p>')
        for title, table in affinity_tables(run.metrics).items():
            sections += [f"<h2>{title}</h2>", table.html(), f'<p class="soft">{NOTES[title]}</p>']
    else:
        sections.append(f"<p>There is no {METRICS} yet: the run was not tested, or has not finished.</p>")
    if figures:
        sections += ["<h2>Figures</h2>", *(figure_html(path, caption) for path, caption in figures)]
    sections.append(
        f"<h2>Reproduce</h2>\n<p>Run it again, or rebuild this page:</p>\n<pre>{escape(_commands(run))}</pre>"
    )
    if run.config:
        sections.append(
            f"<h2>Configuration</h2>\n<details><summary>All settings</summary><pre>{escape(run.config)}</pre></details>"
        )
    return sections


def _commands(run: Run) -> str:
    folder = str(Path(*run.folder.resolve().parts[-3:]))  # outputs/<name>/<time>
    if any(override.startswith("run=") for override in run.overrides):  # an evaluation, below the run that it is of
        folder = str(run.folder.resolve())
        made_by = [["python", "evaluate.py", *run.overrides]]
    else:
        made_by = [["python", "train.py", *run.overrides], ["python", "evaluate.py", f"run={folder}"]]
    return "\n".join(map(shlex.join, [*made_by, ["spatialprop", "report", folder]]))


def _headline(run: Run) -> str:
    before, after = run.metrics.get("coarse", {}), run.metrics.get("refined", {})
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
    drawn = "".join(f"<div><dt>{name}</dt><dd>{value}% <small>{note}</small></dd></div>" for name, value, note in tiles)
    return f'<dl class="numbers">{drawn}</dl>'


def _how_scored(run: Run) -> str:
    if any(VALUES.keys() & scores.keys() for scores in run.metrics.values()):
        return (
            '<p class="soft">ms per image; scores are means over images. SAD, gradient and connectivity error are sums '
            "over the unknown pixels, in thousands; PSNR and SSIM are those of the whole picture.</p>"
        )
    everything = len(run.labels.scored) == len(run.labels.classes)
    over = "all classes" if everything else ", ".join(run.labels.classes[index] for index in run.labels.scored)
    return (
        f'<p class="soft">In percent, ms per image. mIoU, mean accuracy and Boundary IoU are means over '
        f"{escape(over)}. Changed: share of all pixels; rightly and wrongly: shares of those that "
        "were wrong and are right, and the reverse.</p>"
    )
