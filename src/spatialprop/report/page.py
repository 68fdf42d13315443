"""Pages: one HTML file each, without external files, from the templates beside this."""

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from spatialprop.drawing import overlay
from spatialprop.report.run import Arrays

_WIDEST = 480  # pixels of a picture under a slider
PLOTS = (
    "trimap",
    "per_class",
    "training",
    "steps",
    "scores",
    "gain",
)  # figures that hold no photographs, by their start


class Figure(NamedTuple):
    """A picture that the page holds itself."""

    source: str
    caption: str
    is_plot: bool


class Slider(NamedTuple):
    """Two pictures of one size, one on top of the other."""

    name: str
    before: str
    after: str
    under: str
    over: str


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("spatialprop.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(template: str, title: str, **content: Any) -> str:
    """A whole page. Every text in it is escaped, and the browser runs no script but the page's own."""
    found = _templates()
    style, script = (_source(name) for name in ("style.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return found.get_template(template).render(
        title=title, style=Markup(style), script=Markup(script), script_hash=f"sha256-{digest}", **content
    )


def embedded(figures: Iterable[tuple[Path, str]]) -> list[Figure]:
    """Figures that were written as PNG, with their captions, as a page holds them."""
    return [Figure(_data(path.read_bytes()), caption, path.stem.startswith(PLOTS)) for path, caption in figures]


def sliders(examples: Sequence[tuple[str, Arrays]]) -> list[Slider]:
    """The coarse and the refined map over each example that has both."""
    found = []
    for name, arrays in examples:
        if "coarse" in arrays and "refined" in arrays:
            under, over = (_picture(overlay(arrays["image"], arrays[method])) for method in ("coarse", "refined"))
            found.append(Slider(name, "coarse", "refined", under, over))
    return found


def _picture(pixels: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_WIDEST, 4 * _WIDEST))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return _data(buffer.getvalue())


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _source(name: str) -> str:
    loader = _templates().loader
    assert loader is not None
    return loader.get_source(_templates(), name)[0]
