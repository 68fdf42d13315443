"""Scribbles: coloured strokes on a grey picture, or on a layer of their own."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import InputError
from spatialprop.maskfiles import open_picture, read_image, upright

_COLOURED = 12  # a pixel whose channels differ by more is coloured; JPEG alone leaves less
_CHANGED = 10  # levels by which a marked pixel differs from the grey picture, in any channel


def scribbled(grey: NDArray[np.uint8], scribbles: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Colours (H, W, 3) and where they are known (H, W), of a copy of the grey picture (H, W) with coloured strokes.

    A stroke may be grey too, where it differs from the picture: that says that nothing is coloured there. RGBA is a
    layer of its own, known where it is opaque.
    """
    marks = np.asarray(scribbles)
    if marks.ndim != 3 or marks.shape[2] not in (3, 4) or marks.dtype != np.uint8:
        raise InputError(
            f"scribbles must be (H, W, 3), a copy of the grey picture with coloured strokes, or an RGBA layer "
            f"(H, W, 4), of 8 bits; got {marks.shape}, {marks.dtype}"
        )
    if marks.shape[:2] != grey.shape:
        raise InputError(
            f"picture and scribbles must have one size; got {grey.shape[1]}x{grey.shape[0]} and "
            f"{marks.shape[1]}x{marks.shape[0]} pixels"
        )
    colours = marks[..., :3].astype(np.int16)
    if marks.shape[2] == 4 and marks[..., 3].min() < 255:
        where = marks[..., 3] >= 128
    else:
        differs = np.abs(colours - grey[..., None]).max(axis=2) >= _CHANGED
        # A grey stroke counts as far as it is one: a copy that was compressed differs a little everywhere.
        where = (np.ptp(colours, axis=2) >= _COLOURED) & differs
        where |= (np.abs(colours - grey[..., None]).min(axis=2) >= 4 * _CHANGED) & ~where
    if not where.any():
        raise InputError(
            "the scribbles hold no colour: paint strokes on a copy of the grey picture, or on a transparent layer "
            "(RGBA), and save it as PNG"
        )
    return marks[..., :3], np.asarray(where)


def read_scribbles(path: Path, most_pixels: int = 1 << 28) -> NDArray[np.uint8]:
    """Read scribbles as RGB, or as RGBA where anything is transparent. (H, W, 3 or 4)"""
    rgb = read_image(path, most_pixels)
    with open_picture(path, "scribbles", most_pixels) as image:
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            alpha = np.asarray(upright(image).convert("RGBA"))[..., 3]
            if alpha.min() < 255:
                return np.dstack([rgb, alpha])
    return rgb
