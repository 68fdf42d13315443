"""Trimaps: what is certainly foreground, what certainly background, and what a matte is asked for."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spatialprop.errors import InputError
from spatialprop.maskfiles.pictures import MOST_PIXELS, open_picture, upright

UNKNOWN = 128
_SLACK = 5  # values that are as good as 0 and 255, which JPEG leaves


def read_trimap(path: Path, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Read a trimap: 0, 128 and 255 in a grey picture of 8 or 16 bits, or in equal colours. (H, W)"""
    with open_picture(path, "a trimap", most_pixels) as image:
        image = upright(image)
        if image.mode in ("RGBA", "LA", "PA") and np.asarray(image.getchannel("A")).min() < 255:
            raise InputError("it has transparent pixels; a trimap is a grey picture of 0, 128 and 255 without alpha")
        if image.mode.startswith("I"):
            return as_trimap(np.asarray(image))
        pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
        if pixels.ndim == 3:
            if (pixels != pixels[..., :1]).any():
                raise InputError("it holds colours; a trimap is a grey picture of 0, 128 and 255")
            pixels = pixels[..., 0]
        return as_trimap(pixels)


def as_trimap(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of 8 or 16 bits, or floats from 0 to 1, as 0, 128 and 255. (H, W)

    Example:
        >>> as_trimap(np.array([[0.0, 0.5, 1.0]])).tolist()
        [[0, 128, 255]]
    """
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"a trimap is (H, W), of at least one pixel; got {values.shape}")
    if values.dtype.kind == "f":
        if not (values.min() >= 0 and values.max() <= 1):
            raise InputError(f"a trimap of floats goes from 0 to 1; got {values.min():.3g} to {values.max():.3g}")
        values = values * 255
    elif values.dtype.kind in "ui" and values.max() > 255:
        values = values / 257
    elif values.dtype.kind not in "uib":
        raise InputError(f"a trimap holds numbers; got {values.dtype}")
    if values.min() < 0 or values.max() > 255:
        raise InputError(f"a trimap goes from 0 to 255; got {values.min():.5g} to {values.max():.5g}")
    return np.where(values <= _SLACK, 0, np.where(values >= 255 - _SLACK, 255, UNKNOWN)).astype(np.uint8)


def check_trimap(trimap: NDArray[np.uint8], size: tuple[int, ...]) -> None:
    """Refuse a trimap that does not fit its image, or shows only one side."""
    if trimap.shape != tuple(size[:2]):
        raise InputError(
            f"image and trimap must have one size; got {size[1]}x{size[0]} and {trimap.shape[1]}x{trimap.shape[0]} "
            f"pixels: bring the trimap to the image's"
        )
    for value, side, other in ((255, "foreground", "inside"), (0, "background", "outside")):
        if not (trimap == value).any():
            raise InputError(
                f"the trimap holds no known {side}: paint at least some pixels {value} {other} the object; "
                f"a trimap is 0 (background), 128 (unknown) and 255 (foreground)"
            )


def band_around(mask: NDArray[np.bool_], width: int) -> NDArray[np.uint8]:
    """A trimap from a rough mask: unknown within `width` pixels of its border. (H, W)

    Example:
        >>> band_around(np.array([[True, True, True, False, False]]), 1).tolist()
        [[255, 255, 128, 128, 0]]
    """
    import torch
    from torch.nn import functional as F

    if width < 1:
        raise InputError(f"a band is at least 1 pixel wide; got {width}")
    width = min(width, max(mask.shape))  # further away there is nothing
    inside = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]

    def grown(maps: torch.Tensor) -> torch.Tensor:
        maps = F.max_pool2d(maps, (1, 2 * width + 1), 1, (0, width))
        return F.max_pool2d(maps, (2 * width + 1, 1), 1, (width, 0))

    near_inside, near_outside = (grown(maps)[0, 0].numpy() > 0 for maps in (inside, 1 - inside))
    return np.where(~near_outside, 255, np.where(near_inside, UNKNOWN, 0)).astype(np.uint8)
