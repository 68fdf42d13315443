"""Scores as tables, for the console and for a page."""

import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

MISSING = "-"

SCORES = {
    "mIoU": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "boundary_IoU": "Boundary IoU",
}
VALUES = {  # headings, and what the numbers are multiplied by
    "SAD": ("SAD", 1.0),
    "MSE": ("MSE x 1000", 1000.0),
    "gradient_error": ("gradient", 1.0),
    "connectivity_error": ("connectivity", 1.0),
    "PSNR": ("PSNR, dB", 1.0),
    "SSIM": ("SSIM", 1.0),
    "MAE": ("MAE", 1.0),
    "RMSE": ("RMSE", 1.0),
}
CHANGES = {"changed": "changed", "right": "rightly", "wrong": "wrongly"}


@dataclass(frozen=True)
class Table:
    """Cells under headings; the first `labels` columns are text, the others numbers.

    Example:
        >>> print(Table(["method", "mIoU"], [["coarse", "71.2"], ["refined", "80.4"]]).text())
        | method  | mIoU |
        |---------|-----:|
        | coarse  | 71.2 |
        | refined | 80.4 |
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]
    labels: int = 1
    best: Collection[tuple[int, int]] = ()  # row and column of the cells that a page shows in bold

    def text(self) -> str:
        """Aligned text that is a Markdown table too."""
        cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (self.heading, *self.rows)]
        widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
        is_label = [index < self.labels for index in range(len(widths))]

        def line(row: Sequence[str]) -> str:
            padded = [
                cell.ljust(width) if label else cell.rjust(width)
                for cell, width, label in zip(row, widths, is_label, strict=True)
            ]
            return f"| {' | '.join(padded)} |"

        rule = [
            "-" * (width + 2) if label else "-" * (width + 1) + ":"
            for width, label in zip(widths, is_label, strict=True)
        ]
        return "\n".join([line(cells[0]), f"|{'|'.join(rule)}|", *map(line, cells[1:])])

    def for_console(self) -> str:
        """As `rich` draws it where standard output is a terminal, and as text where it is not."""
        if not sys.stdout.isatty():
            return self.text()
        from rich.console import Console
        from rich.table import Table as Drawn
        from rich.text import Text

        drawn = Drawn(header_style="bold")
        for index, title in enumerate(self.heading):
            drawn.add_column(Text(title), justify="left" if index < self.labels else "right")
        for number, row in enumerate(self.rows):
            drawn.add_row(*(Text(cell, "bold" if (number, at) in self.best else "") for at, cell in enumerate(row)))
        console = Console()
        with console.capture() as captured:
            console.print(drawn)
        return captured.get().rstrip("\n")

    def with_best(self, headings: Collection[str], method: str = "method", group: str | None = None) -> "Table":
        """The same with the highest cell of each of these columns in bold, within each `group` if one is named.

        Oracles are left out: they know the truth.
        """
        heading = list(self.heading)
        named = heading.index(method)
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            if not row[named].startswith("oracle"):
                groups.setdefault(row[heading.index(group)] if group in heading else "", []).append(index)
        best = set()
        for column in (index for index, title in enumerate(heading) if title in headings):
            for rows in groups.values():
                values = {
                    index: number for index in rows if (number := _leading_number(self.rows[index][column])) is not None
                }
                if len(values) > 1:
                    best |= {(index, column) for index, number in values.items() if number == max(values.values())}
        return replace(self, best=best)


def comparison_table(metrics: Mapping[str, Mapping[str, Any]], radius: int = 3) -> Table:
    """The methods of a run beside each other, shares in percent; columns that no method has are left out.

    Args:
        metrics: Scores by method, as in `metrics.json`.
        radius: Trimap IoU is shown at the radius nearest to this one.

    Example:
        >>> scores = {"coarse": {"mIoU": 0.712}, "refined": {"mIoU": 0.804, "milliseconds": 31.25}}
        >>> print(comparison_table(scores).text())
        | method  | mIoU |   ms |
        |---------|-----:|-----:|
        | coarse  | 71.2 |    - |
        | refined | 80.4 | 31.2 |
    """
    near = nearest_radius(metrics.values(), radius)
    columns = {heading: [percent(scores.get(key)) for scores in metrics.values()] for key, heading in SCORES.items()}
    columns[f"trimap IoU {near} px"] = [percent(trimap(scores).get(near)) for scores in metrics.values()]
    for key, heading in CHANGES.items():
        columns[heading] = [percent((scores.get("changes") or {}).get(key)) for scores in metrics.values()]
    for key, (heading, factor) in VALUES.items():
        columns[heading] = [_rounded(scores.get(key), factor) for scores in metrics.values()]
    for group in dict.fromkeys(group for scores in metrics.values() for group in scores.get("PSNR_by_group", {})):
        cells = [decimal((scores.get("PSNR_by_group") or {}).get(group)) for scores in metrics.values()]
        columns[f"PSNR, {group} hints"] = cells
    columns["ms"] = [decimal(scores.get("milliseconds")) for scores in metrics.values()]
    known = {heading: cells for heading, cells in columns.items() if any(cell != MISSING for cell in cells)}
    table = Table(["method", *known], list(zip(metrics, *known.values(), strict=True)))
    return table.with_best([*SCORES.values(), f"trimap IoU {near} px"])


def trimap(scores: Mapping[str, Any]) -> dict[int, float]:
    """Trimap IoU by radius in pixels, ascending.

    Example:
        >>> trimap({"trimap_IoU": {"10": 0.7, "2": 0.5, "1": None}})
        {2: 0.5, 10: 0.7}
    """
    curve = scores.get("trimap_IoU") or {}
    return {int(radius): float(curve[radius]) for radius in sorted(curve, key=int) if is_number(curve[radius])}


def nearest_radius(methods: Iterable[Mapping[str, Any]], wanted: int) -> int:
    """The radius nearest to the wanted one that any method was scored at."""
    radii = sorted({radius for scores in methods for radius in trimap(scores)})
    return min(radii, key=lambda radius: abs(radius - wanted), default=wanted)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a score is there: not null, not NaN."""
    return isinstance(value, int | float) and math.isfinite(value)


def percent(value: object, digits: int = 1, sign: str = "") -> str:
    """A fraction in percent, with its sign if `sign` is "+"; a dash if there is none.

    Example:
        >>> percent(0.8049), percent(0.893, digits=2), percent(0.1, sign="+"), percent(None), percent(float("nan"))
        ('80.5', '89.30', '+10.0', '-', '-')
    """
    return rounded(100 * value, digits, sign) if is_number(value) else MISSING


def _rounded(value: object, factor: float) -> str:
    """Three digits or so."""
    return rounded(factor * value, 2 if abs(factor * value) >= 1 else 4) if is_number(value) else MISSING


def decimal(value: object) -> str:
    """A number with one decimal, a dash if there is none."""
    return rounded(value) if is_number(value) else MISSING


def rounded(value: float, digits: int = 1, sign: str = "") -> str:
    """A number as text; what rounds to zero has no minus.

    Example:
        >>> rounded(-0.04), rounded(-0.04, sign="+"), rounded(-0.06)
        ('0.0', '+0.0', '-0.1')
    """
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def _leading_number(text: str) -> float | None:
    try:
        return float(text.split()[0])
    except (ValueError, IndexError):
        return None
