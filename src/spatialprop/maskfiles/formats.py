"""Coarse maps and images in the files that people have; docs/refiner.md lists them."""

import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from spatialprop.maskfiles.arrays import ARRAY_SUFFIXES, read_array
from spatialprop.maskfiles.coarse_file import CoarseFile, are_classes, two_levels
from spatialprop.refiner.inputs import InputError, rgb

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
KINDS = ("auto", "labels", "mask", "alpha", "colours")
MOST_PIXELS = 1 << 28  # 16384 x 16384
_LOSSY = ("JPEG", "MPO")
_MOST_COLOURS = 256
_MOST_CHUNKS = 1000  # that are looked at in a WebP
_NEARLY_GREY = 2  # how far rounding drives the channels of a grey lossy picture apart

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Palette:
    """Colours and names of classes, in the order of their indices."""

    colours: NDArray[np.uint8]  # (K, 3)
    names: tuple[str, ...]


def read_palette(path: Path) -> Palette:
    """Read a text file with a class on each line: red, green, blue from 0 to 255, and a name if you like.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "classes.txt")
        >>> _ = path.write_text("# red green blue name\\n0 0 0 ground\\n128,64,128,road\\n")
        >>> read_palette(path).names
        ('ground', 'road')
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; a palette holds a line 'red green blue name' a class") from None
    colours: list[list[int]] = []
    names: list[str] = []
    lines: dict[tuple[int, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = re.split(r"[\s,;]+", line.strip(), maxsplit=3)
        if len(words) < 3 or not all(re.fullmatch(r"[0-9]{1,3}", word) and int(word) < 256 for word in words[:3]):
            raise InputError(f"line {number} of {path} must be 'red green blue name', each from 0 to 255; got {line!r}")
        colours.append([int(word) for word in words[:3]])
        first = lines.setdefault(tuple(colours[-1]), number)
        if first != number:
            raise InputError(f"lines {first} and {number} of {path} give two classes one colour, {line.strip()!r}")
        names.append(words[3] if len(words) > 3 else str(len(names)))
    if not 2 <= len(colours) <= 65536:
        raise InputError(f"{path} must give from 2 to 65536 classes a colour; it has {len(colours)} lines")
    return Palette(np.array(colours, np.uint8), tuple(names))


def read_image(path: Path, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Read an image as it is meant to be seen: upright, RGB, 8 bits. (H, W, 3)"""
    return _decoded(path, "an image", most_pixels, lambda image: rgb(ImageOps.exif_transpose(image)))


def read_coarse(
    path: Path, kind: str = "auto", palette: Palette | None = None, most_pixels: int = MOST_PIXELS
) -> CoarseFile:
    """Read a coarse map.

    Args:
        path: An image, .npy or .npz.
        kind: What it holds: "labels" (a grey level or palette index is a class), "mask" (dark is ground, bright
            is object), "alpha" (a soft mask), "colours" (a colour is a class), or "auto" to go by what is in it.
        palette: The classes of colours; otherwise each colour found is a class.
        most_pixels: Larger images are refused.
    """
    if kind not in KINDS:
        raise InputError(f"a coarse map is one of {', '.join(KINDS)}; got {kind!r}")
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return read_array(path, kind, most_pixels)

    def interpret(image: Image.Image) -> CoarseFile:
        _refuse_what_gets_lost(image)
        return _interpret(ImageOps.exif_transpose(image), kind, palette, _is_lossy(path, image.format))

    return _decoded(path, "a coarse map", most_pixels, interpret)


def _refuse_what_gets_lost(image: Image.Image) -> None:
    """Refuse, before it is loaded, a picture of which Pillow would give a part without a word."""
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # a JPEG with previews
        raise InputError(f"it has {pages} pages, and a coarse map has one; save the one that is meant by itself")
    if len(image.getbands()) > 1 and ";16" in str(getattr(image, "tile", "")):
        raise InputError(
            "its channels have 16 bits each, of which 8 would be lost; save labels as a grey picture of 16 bits, "
            "colours and soft masks with 8 bits a channel"
        )


def _decoded(path: Path, what: str, most_pixels: int, use: Callable[[Image.Image], _Found]) -> _Found:
    """What `use` makes of an image file, not loaded yet; anything that goes wrong on the way names the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with warnings.catch_warnings(), _own_limit(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # of damaged metadata
            # A TIFF that is opened by its name may be mapped into memory, and Pillow 13 turns such ones wrong.
            with Image.open(file) as image:
                if math.prod(image.size) > most_pixels:
                    raise InputError(
                        f"it has {image.width}x{image.height} pixels and at most {most_pixels} are read; "
                        f"if that is no attack, raise the limit (--most-pixels)"
                    )
                return use(image)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes decoders raise anything
        raise InputError(f"{path} cannot be read as {what}: {error or type(error).__name__}; replace it") from None


def _is_lossy(path: Path, name: str | None) -> bool:
    """Whether a file of that format holds levels that nobody drew; of WebP only the names of its chunks tell."""
    if name != "WEBP":
        return name in _LOSSY
    with path.open("rb") as file:
        file.seek(12)  # past RIFF, a length and WEBP
        for _ in range(_MOST_CHUNKS):
            header = file.read(8)
            chunk, length = header[:4], int.from_bytes(header[4:], "little")
            if len(header) < 8 or chunk in (b"VP8 ", b"VP8L"):
                return chunk == b"VP8 "
            # A frame of an animation holds chunks of its own, after 16 bytes.
            file.seek(16 if chunk == b"ANMF" else length + length % 2, os.SEEK_CUR)
    return False


@contextmanager
def _own_limit() -> Iterator[None]:
    """Pillow knows one limit for a whole program; here the caller's holds."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _interpret(image: Image.Image, kind: str, palette: Palette | None, lossy: bool) -> CoarseFile:
    mode = image.mode
    palette_with_alpha = mode == "P" and "transparency" in image.info
    if mode in ("LA", "La", "RGBA", "RGBa", "PA") or palette_with_alpha:
        rgba, beneath = image.convert("RGBA"), "L" if mode in ("LA", "La") else "RGB"
        opacity = np.asarray(rgba.getchannel("A"))
        # A palette's colours that are there or not are classes, one of which is see-through.
        soft = not palette_with_alpha or bool(((opacity > 0) & (opacity < 255)).any())
        if opacity.min() < 255 and (kind == "alpha" or (kind == "auto" and soft)):
            return _alpha(opacity, "L", np.asarray(rgba.convert(beneath)))
        image = image if palette_with_alpha else rgba.convert(beneath)
    if image.mode == "P" and kind in ("auto", "labels"):
        indices = np.asarray(image)
        colours = image.getpalette("RGB") or []
        return CoarseFile(indices, "labels", None, "P", bytes(colours), image.info.get("transparency"))
    if image.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    if image.mode == "1" and (kind not in ("auto", "mask") or palette is not None):
        image = image.convert("L")
    if image.mode == "1":
        return CoarseFile(np.asarray(image, np.uint8), "mask", np.array([0, 255], np.uint8), "1")
    if image.mode == "RGB":
        pixels = np.asarray(image)
        by_colour = kind == "colours" or (kind == "auto" and palette is not None)
        if not by_colour and _is_grey(pixels, lossy):
            levels = pixels[..., 1]
            if kind != "auto" or lossy or not are_classes(levels, np.unique(levels), 255):
                return _grey(levels, kind, lossy)
        if kind in ("auto", "colours"):
            return _colours(pixels, palette, lossy)
        raise InputError(f"it is coloured, so it holds no {kind}; save class indices, or say that it holds colours")
    if image.mode == "L" or image.mode.startswith("I"):
        if palette is not None and kind in ("auto", "colours"):
            return _colours(rgb(image), palette, lossy)
        return _grey(np.asarray(image), kind, lossy)
    raise InputError(f"its mode {mode!r} is not known as a coarse map; save it as an 8-bit grey or palette PNG")


def _is_grey(pixels: NDArray[np.uint8], lossy: bool) -> bool:
    if not lossy:
        return bool((pixels == pixels[..., :1]).all())
    return bool((np.ptp(pixels, axis=-1) <= _NEARLY_GREY).all())


def _grey(levels: NDArray[Any], kind: str, lossy: bool) -> CoarseFile:
    most, least = int(levels.max()), int(levels.min())
    if least < 0 or most > 65535:
        raise InputError(f"it holds values from {least} to {most}; labels go from 0 to 65535")
    deep = levels.dtype != np.uint8
    full = 65535 if deep else 255
    mode = "I;16" if deep else "L"
    present = np.flatnonzero(np.bincount(levels.ravel()))
    if kind == "auto":
        if set(present.tolist()) <= {0, full} and most == full:
            kind = "mask"
        elif not lossy and are_classes(levels, present, full):
            kind = "labels"
        elif least < 0.1 * full and most > 0.9 * full:
            kind = "alpha"
        else:
            raise InputError(
                f"it holds {len(present)} grey levels from {least} to {most}: are they labels or a soft mask? "
                f"Say so: --kind labels, or --kind alpha"
            )
    if kind == "alpha":
        return _alpha(levels, mode)
    if kind == "mask":
        objects, codes = two_levels(levels, full)
        return CoarseFile(objects, "mask", codes, mode)
    if kind == "labels":
        return CoarseFile(levels, "labels", None, mode)
    raise InputError("it is grey, so it holds no colours; leave --kind out, or say labels, mask or alpha")


def _alpha(levels: NDArray[Any], mode: str, picture: NDArray[np.uint8] | None = None) -> CoarseFile:
    share = levels.astype(np.float32) / (255 if levels.dtype == np.uint8 else 65535)
    return CoarseFile(np.stack([1 - share, share]), "alpha", None, mode, picture=picture)


def _colours(pixels: NDArray[np.uint8], palette: Palette | None, lossy: bool) -> CoarseFile:
    codes = _code(pixels)
    if palette is None:
        known, index = np.unique(codes, return_inverse=True)
        if len(known) > _MOST_COLOURS or (lossy and len(known) > 2):
            raise InputError(
                f"it holds {len(known)} colours, too many to be classes: JPEG, lossy WebP and smooth scaling make "
                f"colours of their own; save it as PNG, or give the classes' colours (--palette FILE)"
            )
        colours = np.stack([known >> 16, known >> 8 & 255, known & 255], axis=1).astype(np.uint8)
        return CoarseFile(index.reshape(codes.shape).astype(np.int32), "colours", colours, "RGB")
    known = _code(palette.colours)
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, codes, sorter=order), len(known) - 1)
    index = order[place]
    strange = known[index] != codes
    if strange.any():
        row, column = (int(places[0]) for places in np.nonzero(strange))
        advice = "add it" + (", or save the map as PNG" if lossy else "")
        if (pixels == pixels[..., :1]).all():
            advice += "; if its grey levels are the classes, say so: --kind labels"
        raise InputError(
            f"{int(strange.sum())} of its {strange.size} pixels have a colour that the palette lacks, the first one "
            f"{tuple(pixels[row, column].tolist())} at row {row}, column {column}; {advice}"
        )
    return CoarseFile(index.astype(np.int32), "colours", palette.colours, "RGB")


def _code(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Colours (..., 3) as one number each."""
    wide = colours.astype(np.int32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2])
