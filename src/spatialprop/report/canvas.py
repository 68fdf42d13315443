"""Layout, style and files of figures, without pyplot and its global state."""

import io
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from spatialprop.data import VOID, LabelSet
from spatialprop.drawing import class_colours
from spatialprop.files import write_file

INK, PALE = "#24292f", "#d0d7de"
BEFORE, AFTER = "#8c959f", "#0969da"
_OTHERS = ("#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#1b7c83")
Place: TypeAlias = Literal["lower center", "outside lower center", "upper right"]
_WIDTH = 9.0  # inches; text is set for a page that shows a figure at 800 to 1000 pixels
_DPI = 150
_GAP, _TITLE, _LINE, _LEFT = 0.06, 0.26, 0.2, 0.24  # inches


def method_colours(methods: Collection[str]) -> dict[str, str]:
    """A colour for each method; the usual ones look the same in every figure."""
    fixed = {"coarse": BEFORE, "refined": AFTER}
    fixed |= {method: "#7cc896" for method in methods if method.startswith("oracle")}
    others = [method for method in methods if method not in fixed]
    return fixed | dict(zip(others, line_colours(len(others)), strict=True))


def line_colours(count: int) -> list[str]:
    """Colours that are easy to tell apart, from the start again where they run out."""
    return [_OTHERS[index % len(_OTHERS)] for index in range(count)]


def picture_grid(
    shapes: Sequence[tuple[int, int]],
    titles: Sequence[str],
    names: Sequence[str],
    foot: float,
    captions: Sequence[str] = (),
) -> tuple[Figure, list[list[Axes]]]:
    """Axes for rows of pictures of one width, with little space between them.

    Args:
        shapes: Height and width in pixels of each row's pictures.
        titles: Titles of the columns.
        names: Names of the rows.
        foot: Space left below, in inches.
        captions: Captions below the rows.
    """
    columns = len(titles)
    width = _picture_width(columns)
    heights = [width * height_px / width_px for height_px, width_px in shapes]
    full_width = _grid_width(columns)
    gap = _LINE if captions else _GAP
    full_height = _TITLE + sum(heights) + gap * len(heights) + foot
    figure = Figure(figsize=(full_width, full_height), dpi=_DPI, facecolor="white")
    rows, top = [], full_height - _TITLE
    for name, height in zip(names, heights, strict=True):
        top -= height
        row = []
        for column in range(columns):
            x = _LEFT + column * (width + _GAP)
            axes = figure.add_axes((x / full_width, top / full_height, width / full_width, height / full_height))
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color=PALE, linewidth=0.6)
            row.append(axes)
        row[0].set_ylabel(_shortened(name, height), fontsize=8, color=INK, labelpad=4, parse_math=False)
        rows.append(row)
        top -= gap
    for row, caption in zip(rows, captions, strict=False):
        row[0].annotate(
            caption, (0, 0), (0, -3), xycoords="axes fraction", textcoords="offset points", va="top", fontsize=8,
            color=INK, annotation_clip=False,
        )  # fmt: skip
    for axes, title in zip(rows[0], titles, strict=True):
        axes.set_title(title, fontsize=9.5, color=INK, pad=5, parse_math=False)
    return figure, rows


def plot_grid(titles: Sequence[str], height: float) -> tuple[Figure, list[Axes]]:
    """Axes for plots beside each other."""
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white", layout="constrained")
    panels = [figure.add_subplot(1, len(titles), index + 1) for index in range(len(titles))]
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10.5, color=INK, loc="left", parse_math=False)
        axes.tick_params(labelsize=9, colors=INK, length=0)
        axes.grid(color=PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(PALE)
    return figure, panels


def swatch(colour: Sequence[int] | NDArray[np.uint8]) -> Patch:
    """A colour, RGB from 0 to 255, as a legend shows it."""
    red, green, blue = (float(value) / 255 for value in colour)
    return Patch(facecolor=(red, green, blue), edgecolor=PALE, linewidth=0.6)


def class_entries(values: Iterable[int], labels: LabelSet, numbered: bool = False) -> list[tuple[str, Patch]]:
    """Legend entries of the classes, and of void, among these label values."""
    known = [value for value in sorted(set(values)) if value < len(labels.classes)]
    colours = class_colours()
    entries = [
        (f"{value} {labels.classes[value]}" if numbered else labels.classes[value], swatch(colours[value]))
        for value in known
    ]
    if VOID in values:
        entries.append(("void", Patch(facecolor="white", edgecolor="#8c959f", hatch="//////", linewidth=0.6)))
    return entries


def hatched(picture: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Hatch a picture (H, W, 3) where a mask (H, W) is true, as void is drawn."""
    rows, columns = np.indices(where.shape)
    period = max(4, max(where.shape) // 40)
    stripes = (rows + columns) % period < max(1, period // 4)
    drawn = np.where(where[..., None], np.uint8(255), picture)
    drawn[where & stripes] = 140
    return np.asarray(drawn, np.uint8)


def coloured(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label map in the colours of its classes, void hatched. (H, W, 3)"""
    return hatched(class_colours()[label], label == VOID)


def legend(figure: Figure, entries: Sequence[tuple[str, Patch]], place: Place = "lower center") -> None:
    """A legend that reads line by line; names are shown as they are, whatever signs they hold."""
    columns = _legend_columns([name for name, _ in entries], figure.get_figwidth())
    # Matplotlib fills column after column.
    entries = [entry for column in range(columns) for entry in entries[column::columns]]
    drawn = figure.legend(
        [patch for _, patch in entries], [" "] * len(entries), loc=place, ncols=columns, frameon=False, fontsize=9,
        handlelength=1.1, handleheight=1.1, columnspacing=1.4, handletextpad=0.5, borderaxespad=0.1,
    )  # fmt: skip
    for text, (name, _) in zip(drawn.get_texts(), entries, strict=True):
        text.set(text=name, color=INK, parse_math=False)


def legend_height(names: Sequence[str], columns: int = 4) -> float:
    """The height in inches of a legend of these names below a grid of so many columns."""
    return 0.1 + _LINE * -(-len(names) // _legend_columns(names, _grid_width(columns)))


def percent_axis(axis: Axis) -> None:
    """Write fractions in percent, with as many decimals as it takes to tell ticks apart."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all."""
    if path.parent.is_symlink():  # a run that somebody else has sent would write wherever it leads
        raise ValueError(f"{path.parent} is a link, and figures are written to folders; remove it")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return write_file(path, buffer.getvalue())


def _shortened(name: str, inches: float) -> str:
    most = max(4, int(inches / 0.07))
    return name if len(name) <= most else name[: most - 1] + "…"


def _picture_width(columns: int) -> float:
    # Few columns would make huge pictures: they are as wide as four columns' at most.
    return (_WIDTH - _LEFT - _GAP * (columns - 1)) / max(columns, 4)


def _grid_width(columns: int) -> float:
    return _LEFT + columns * _picture_width(columns) + (columns - 1) * _GAP


def _legend_columns(names: Sequence[str], width: float) -> int:
    for columns in range(len(names), 1, -1):
        longest = [max(map(len, names[column::columns])) for column in range(columns)]
        if sum(0.4 + 0.072 * letters for letters in longest) < width:
            return columns
    return 1
