"""Pictures of mattes and colours: what every method makes of the same image."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spatialprop.report.canvas import picture_grid
from spatialprop.report.run import Arrays

_PICTURE = "picture_"
_TITLES = {"coarse": "what is known", "truth": "truth"}
_LARGEST = 0.5  # of what a value can be: the difference that errors are drawn up to


def draw_values(examples: Sequence[tuple[str, Arrays]]) -> Figure | None:
    """Image, what is known, results, truth, and where the refined map differs from it."""
    shown = [(name, arrays) for name, arrays in examples if "image" in arrays and f"{_PICTURE}truth" in arrays]
    if not shown:
        return None
    found = {key.removeprefix(_PICTURE) for _, arrays in shown for key in arrays if key.startswith(_PICTURE)}
    others = sorted(found - {"coarse", "refined", "truth"})
    methods = [method for method in ("coarse", "refined", *others, "truth") if method in found]
    titles = ["image", *(_TITLES.get(method, method) for method in methods), "error, refined"]
    shapes = [arrays["image"].shape[:2] for _, arrays in shown]
    figure, rows = picture_grid(shapes, titles, [name for name, _ in shown], foot=0.1)
    for (_, arrays), row in zip(shown, rows, strict=True):
        pictures = [arrays["image"], *(arrays.get(f"{_PICTURE}{method}") for method in methods), _error(arrays)]
        for axes, picture in zip(row, pictures, strict=True):
            if picture is not None:
                axes.imshow(picture, aspect="auto", interpolation="nearest")
    return figure


def _error(arrays: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
    if f"{_PICTURE}refined" not in arrays:
        return None
    difference = np.abs(arrays[f"{_PICTURE}refined"].astype(float) - arrays[f"{_PICTURE}truth"]).max(axis=2) / 255
    colours = matplotlib.colormaps["magma"](np.clip(difference / _LARGEST, 0, 1))
    return np.asarray(colours[..., :3] * 255, np.uint8)
