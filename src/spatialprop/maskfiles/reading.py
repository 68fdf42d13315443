"""Coarse maps in the files that people have; docs/refiner.md lists them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spatialprop.errors import InputError, reading
from spatialprop.maskfiles.arrays import ARRAY_SUFFIXES, StoredArray, read_array
from spatialprop.maskfiles.kinds import CoarseFile, Colours, Labels, Mask, Probabilities, SoftMask
from spatialprop.maskfiles.layouts import ArrayLayout, PictureLayout
from spatialprop.maskfiles.palette import Palette
from spatialprop.maskfiles.pictures import MOST_PIXELS, is_lossy, open_picture, refuse_what_gets_lost, rgb, upright

KINDS = ("auto", "labels", "mask", "alpha", "colours")
_MOST_COLOURS = 256
_MOST_LEVELS = 64  # that are still taken for classes
_NEARLY_GREY = 2  # how far rounding drives the channels of a grey lossy picture apart
_SLACK = 1e-3  # beyond zero and one, as rounding leaves it
_WANTED = {
    "labels": "labels are integers (H, W)",
    "mask": "a mask is (H, W)",
    "alpha": "a soft mask is floats (H, W) from 0 to 1, or uint8 x 255",
    "colours": "colours are read from pictures, such as PNG",
}
_MEANING = {"probabilities": "probabilities (K, h, w)", "alpha": "a soft mask", "mask": "a mask", "labels": "labels"}


def read_coarse(
    path: Path, kind: str = "auto", palette: Palette | None = None, most_pixels: int = MOST_PIXELS
) -> CoarseFile:
    """Read a coarse map.

    Args:
        path: A picture, .npy or .npz.
        kind: What it holds: "labels" (a grey level or palette index is a class), "mask" (dark is ground, bright
            is object), "alpha" (a soft mask), "colours" (a colour is a class), or "auto" to go by what is in it.
        palette: The colours of the classes; without them each colour found is a class.
        most_pixels: Larger maps are refused.
    """
    if kind not in KINDS:
        raise InputError(f"a coarse map is one of {', '.join(KINDS)}; got {kind!r}")
    if path.suffix.lower() in ARRAY_SUFFIXES:
        stored = read_array(path, most_pixels)
        with reading(path, "an array", "write it again"):
            return _of_array(stored, kind, palette)
    with open_picture(path, "a coarse map", most_pixels) as image:
        refuse_what_gets_lost(image)
        return _of_picture(upright(image), kind, palette, is_lossy(path, image.format))


def _of_picture(image: Image.Image, kind: str, palette: Palette | None, lossy: bool) -> CoarseFile:
    mode = image.mode
    palette_with_alpha = mode == "P" and "transparency" in image.info
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or palette_with_alpha:
        rgba, beneath = image.convert("RGBA"), "L" if mode in ("LA", "La") else "RGB"
        opacity = np.asarray(rgba.getchannel("A"))
        # A palette's colours that are either there or not are classes, one of which is see-through.
        soft = not palette_with_alpha or bool(((opacity > 0) & (opacity < 255)).any())
        if opacity.min() < 255 and (kind == "alpha" or (kind == "auto" and soft)):
            return _grey(opacity, "alpha", None, lossy, beneath=np.asarray(rgba.convert(beneath)))
        image = image if palette_with_alpha else rgba.convert(beneath)
    if image.mode == "P" and kind in ("auto", "labels"):
        colours = bytes(image.getpalette("RGB") or [])
        layout = PictureLayout("P", palette=colours, transparency=image.info.get("transparency"))
        return Labels(np.asarray(image), layout, palette)
    if image.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    if image.mode == "1" and (kind not in ("auto", "mask") or palette is not None):
        image = image.convert("L")
    if image.mode == "1":
        return Mask(np.asarray(image, np.uint8), PictureLayout("1"), np.array([0, 255], np.uint8))
    if image.mode == "RGB":
        pixels = np.asarray(image)
        by_colour = kind == "colours" or (kind == "auto" and palette is not None)
        if not by_colour and _is_grey(pixels, lossy):
            levels = pixels[..., 1]
            if kind != "auto" or lossy or not _are_classes(levels, np.unique(levels), 255):
                return _grey(levels, kind, palette, lossy)
        if kind in ("auto", "colours"):
            return _colours(pixels, palette, lossy)
        raise InputError(f"it is coloured, so it holds no {kind}; save class indices, or say that it holds colours")
    if image.mode == "L" or image.mode.startswith("I"):
        if palette is not None and kind in ("auto", "colours"):
            return _colours(rgb(image), palette, lossy)
        return _grey(np.asarray(image), kind, palette, lossy)
    raise InputError(f"its mode {mode!r} is not known as a coarse map; save it as an 8-bit grey or palette PNG")


def _grey(
    levels: NDArray[Any], kind: str, palette: Palette | None, lossy: bool, beneath: NDArray[np.uint8] | None = None
) -> CoarseFile:
    most, least = int(levels.max()), int(levels.min())
    if least < 0 or most > 65535:
        raise InputError(f"it holds values from {least} to {most}; labels go from 0 to 65535")
    deep = levels.dtype != np.uint8
    full = 65535 if deep else 255
    present = np.flatnonzero(np.bincount(levels.ravel()))
    if kind == "auto":
        if set(present.tolist()) <= {0, full} and most == full:
            kind = "mask"
        elif not lossy and _are_classes(levels, present, full):
            kind = "labels"
        elif least < 0.1 * full and most > 0.9 * full:
            kind = "alpha"
        else:
            raise InputError(
                f"it holds {len(present)} grey levels from {least} to {most}: are they labels or a soft mask? "
                f"Say so: --kind labels, or --kind alpha"
            )
    layout = PictureLayout("I;16" if deep else "L", beneath=beneath)
    if kind == "alpha":
        share = levels.astype(np.float32) / full
        return SoftMask(np.stack([1 - share, share]), layout)
    if kind == "mask":
        objects, codes = _two_levels(levels, full)
        return Mask(objects, layout, codes)
    if kind == "labels":
        return Labels(levels, layout, palette)
    raise InputError("it is grey, so it holds no colours; leave --kind out, or say labels, mask or alpha")


def _colours(pixels: NDArray[np.uint8], palette: Palette | None, lossy: bool) -> Colours:
    codes = _as_numbers(pixels)
    if palette is None:
        known, index = np.unique(codes, return_inverse=True)
        if len(known) > _MOST_COLOURS or (lossy and len(known) > 2):
            raise InputError(
                f"it holds {len(known)} colours, too many to be classes: JPEG, lossy WebP and smooth scaling make "
                f"colours of their own; save it as PNG, or give the classes' colours (--palette FILE)"
            )
        colours = np.stack([known >> 16, known >> 8 & 255, known & 255], axis=1).astype(np.uint8)
        return Colours(index.reshape(codes.shape).astype(np.int32), PictureLayout("RGB"), colours)
    known = _as_numbers(palette.colours)
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, codes, sorter=order), len(known) - 1)
    index = order[place]
    unknown = known[index] != codes
    if unknown.any():
        row, column = (int(places[0]) for places in np.nonzero(unknown))
        advice = "add it" + (", or save the map as PNG" if lossy else "")
        if (pixels == pixels[..., :1]).all():
            advice += "; if its grey levels are the classes, say so: --kind labels"
        raise InputError(
            f"{int(unknown.sum())} of its {unknown.size} pixels have a colour that the palette lacks, the first one "
            f"{tuple(pixels[row, column].tolist())} at row {row}, column {column}; {advice}"
        )
    return Colours(index.astype(np.int32), PictureLayout("RGB"), palette.colours)


def _of_array(stored: StoredArray, kind: str, palette: Palette | None) -> CoarseFile:
    values, key, classes = stored
    dtype, shape = values.dtype, values.shape
    if values.ndim not in (2, 3) or 0 in shape:
        raise InputError(f"it holds an array of shape {shape}; a coarse map is (K, h, w), or (H, W) of labels")
    if kind == "auto" and classes is not None:
        if len(classes) == 1:  # probabilities need a second class, which has no share anywhere
            values = np.concatenate([values, np.zeros_like(values)])
            classes = np.append(classes, np.uint16(classes[0] == 0))
        return Probabilities(values, ArrayLayout(dtype, key), classes, palette)
    found = _kind_of(values)
    if kind == "auto":
        kind = found
    elif found == "probabilities" or not _fits(kind, dtype):
        raise InputError(
            f"it holds {dtype} {shape}, {_MEANING[found]}, and not what --kind {kind} says: {_WANTED[kind]}; change "
            f"the array, or leave --kind out"
        )
    if kind == "probabilities":
        return Probabilities(values, ArrayLayout(dtype, key), None, palette)
    layout = ArrayLayout(dtype, key, single=values.ndim == 3)
    values = values[0] if layout.single else values
    if kind == "labels":
        return Labels(values, layout, palette)
    if kind == "mask":
        return _mask_of_array(values, layout)
    share = values if dtype.kind == "f" else values / np.float32(255)
    if not -_SLACK <= share.min() <= share.max() <= 1 + _SLACK:  # NaN fails too
        raise InputError(
            f"floats {shape} are taken for a soft mask from 0 to 1; got values from {share.min():g} to "
            f"{share.max():g}: store labels as integers, and divide a mask of 0 to 255 by 255"
        )
    share = share.clip(0, 1)
    return SoftMask(np.stack([1 - share, share]), layout)


def _kind_of(values: NDArray[Any]) -> str:
    """The kind that an array is taken for by itself."""
    single = values.ndim == 3 and len(values) == 1
    if values.ndim == 3 and not single:
        return "probabilities"
    if values.dtype.kind == "f":
        return "alpha"
    if values.dtype != np.uint8:
        return "labels"
    present = np.unique(values)
    if present.tolist() == [0, 255]:
        return "mask"
    # Bytes as (1, H, W) are the output of a network for one class, or somebody's labels.
    return "alpha" if single and not _are_classes(values[0], present, 255) else "labels"


def _fits(kind: str, dtype: np.dtype[Any]) -> bool:
    """Whether numbers of that type can be of that kind."""
    if kind == "labels":
        return dtype.kind in "bui"
    return kind == "mask" or (kind == "alpha" and (dtype.kind == "f" or dtype == np.uint8))


def _mask_of_array(values: NDArray[Any], layout: ArrayLayout) -> Mask:
    least, most = values.min().item(), values.max().item()
    limit = 1 if values.dtype.kind == "f" else 65535
    if not 0 <= least <= most <= limit:  # NaN fails too
        raise InputError(f"a mask of {values.dtype} goes from 0 to {limit}; got values from {least:g} to {most:g}")
    # An array does not say how many bits its values were meant to have.
    objects, codes = _two_levels(values, next(full for full in (1, 255, 65535) if most <= full))
    return Mask(objects, layout, codes)


def _two_levels(levels: NDArray[Any], full: float) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Split levels into dark (0) and bright (1), and name the level that stands for each.

    Args:
        levels: Any numbers. (H, W)
        full: The brightest level possible, which tells whether a map of one level is dark or bright.

    Example:
        >>> _two_levels(np.array([[0, 7], [90, 100]]), 255)
        (array([[0, 0],
               [1, 1]], dtype=uint8), array([  0, 100]))
    """
    least, most = levels.min().item(), levels.max().item()
    cut = (least + most) / 2 if most > least else full / 2
    codes = [0, full] if most == full else [least, most]
    return (levels > cut).astype(np.uint8), np.array(codes, levels.dtype)


def _is_grey(pixels: NDArray[np.uint8], lossy: bool) -> bool:
    if not lossy:
        return bool((pixels == pixels[..., :1]).all())
    return bool((np.ptp(pixels, axis=-1) <= _NEARLY_GREY).all())


def _are_classes(levels: NDArray[Any], present: NDArray[Any], full: int) -> bool:
    """Whether levels look like classes; `present` are those that occur, `full` is the brightest possible."""
    return len(present) <= _MOST_LEVELS and not _has_smooth_edges(levels, present, full)


def _has_smooth_edges(levels: NDArray[Any], present: NDArray[Any], full: int) -> bool:
    """Whether this looks like a black and white mask with smooth edges: nearly all at the ends, slopes between."""
    between = present[(present > full // 8) & (present < full - full // 8)]
    ends = (levels == 0) | (levels == full)
    if len(between) <= 3 or ends.mean() <= 0.8:
        return False
    # A pixel on a slope differs from a neighbour; most pixels of a class do not.
    flat = np.ones(levels.shape, bool)
    for axis in (0, 1):
        same = np.diff(levels, axis=axis) == 0
        first, second = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
        flat[first] &= same
        flat[second] &= same
    return bool(flat[~ends].mean() < 0.1)


def _as_numbers(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Each of the colours (..., 3) as one number."""
    wide = colours.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])
