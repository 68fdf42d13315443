"""Pictures on disk: opened in one way for the refiner and for training, and written whole or not at all."""

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from spatialprop.errors import InputError, reading
from spatialprop.files import write_beside
from spatialprop.memory import refuse_too_much

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")
MOST_PIXELS = 1 << 28  # 16384 x 16384
_SMALL, _DENSEST = 1 << 24, 10_000  # pixels, and pixels a byte: PNG comes to 8,256
_READ = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")  # Pillow knows more, and runs other programs for some of them
_WRITTEN: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".bmp": ("BMP", {}),
}
PICTURE_SUFFIXES = tuple(_WRITTEN)  # all of them lossless
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # of EXIF
_LOSSY = ("JPEG", "MPO")
_MOST_CHUNKS = 1000  # of a WebP


def read_image(path: Path, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Read an image as it is meant to be seen: upright, RGB, 8 bits. (H, W, 3)"""
    with open_picture(path, "an image", most_pixels) as image:
        refuse_several_pages(image, "an image")
        return rgb(image)


def read_image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image as `read_image` gives it, from its header where that is enough."""
    with open_picture(path, "an image") as image:
        if image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE:
            image = upright(image)
        return image.height, image.width


def read_indices(path: Path) -> NDArray[np.uint8 | np.uint16]:
    """Read the numbers in a grey or palette picture: of a palette picture its indices, not its colours. (H, W)

    They are uint8, or uint16 if 8 bits cannot hold them.
    """
    with open_picture(path, "a label map") as image:
        refuse_what_gets_lost(image)
        if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
            raise InputError(
                f"it is stored in mode {image.mode!r}; labels must be a grey or palette PNG of class indices, "
                f"not colours: write the indices"
            )
        indices = np.asarray(upright(image))
        least, most = int(indices.min()), int(indices.max())
        if least < 0 or most > 65535:
            raise InputError(f"it holds values from {least} to {most}; labels go from 0 to 65535")
        return indices.astype(np.uint8 if most < 256 else np.uint16)


@contextmanager
def open_picture(path: Path, what: str, most_pixels: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """Open a picture without decoding it; whatever goes wrong with it until it is closed names the file."""
    with reading(path, what, "replace it"), _READING, path.open("rb") as file:
        try:
            # Given as a file: Pillow maps some TIFF files into memory by name, and then turns them the wrong way.
            image = Image.open(file, formats=_READ)
        except UnidentifiedImageError:
            raise ValueError(f"it is damaged, or none of {', '.join(_READ)}") from None
        with image:
            if math.prod(image.size) > most_pixels:
                raise InputError(
                    f"it has {image.width}x{image.height} pixels and at most {most_pixels} are read; "
                    f"if that is no attack, raise the limit (--most-pixels)"
                )
            _refuse_empty_claims(image, os.fstat(file.fileno()).st_size)
            refuse_too_much(12 * math.prod(image.size), "it", "make it smaller, or close other programs")
            yield image


def _refuse_empty_claims(image: Image.Image, size: int) -> None:
    """Refuse a damaged header: no format packs so much into so few bytes, but WebP if it is flat."""
    pixels = math.prod(image.size)
    if image.format != "WEBP" and pixels > max(_SMALL, _DENSEST * size):
        raise InputError(f"it claims {image.width}x{image.height} pixels in {size} bytes, so it is damaged")


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    return ImageOps.exif_transpose(image)


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Convert an image of any mode: upright, 16 bits brought to 8, transparency left out. (H, W, 3)"""
    image = upright(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)
        scale = 257.0 if image.mode.startswith("I") else 1 / 255
        if not (values.min() >= 0 and values.max() <= 255 * scale):  # NaN fails too
            raise InputError(
                f"an image of mode {image.mode!r} must hold values from 0 to {255 * scale:.0f}; got values from "
                f"{values.min():.6g} to {values.max():.6g}: convert it to 8 or 16 bits a channel"
            )
        return np.rint(values / scale).astype(np.uint8)[..., None].repeat(3, axis=2)
    # Pillow warns when it drops a palette's transparency in one step.
    return np.array((image.convert("RGBA") if image.mode == "P" else image).convert("RGB"))


def refuse_several_pages(image: Image.Image, what: str) -> None:
    """Refuse a file of several pictures, of which Pillow would silently give the first."""
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # a JPEG with previews
        raise InputError(f"it has {pages} pages, and {what} has one; save the one that is meant by itself")


def refuse_what_gets_lost(image: Image.Image) -> None:
    """Refuse, before it is decoded, a label map of which Pillow would silently give a part."""
    refuse_several_pages(image, "a coarse map")
    if len(image.getbands()) > 1 and ";16" in str(getattr(image, "tile", "")):
        raise InputError(
            "its channels have 16 bits each, of which 8 would be lost; save labels as a grey picture of 16 bits, "
            "colours and soft masks with 8 bits a channel"
        )


def is_lossy(path: Path, name: str | None) -> bool:
    """Whether a picture in Pillow's format `name` was compressed with loss; of WebP only its chunks tell."""
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


def check_picture(path: Path) -> None:
    """Refuse, before anything is computed, a file name in whose format no picture is written."""
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"a picture is written as one of {', '.join(PICTURE_SUFFIXES)}; got {path.name!r}")


def write_picture(path: Path, picture: Image.Image | NDArray[np.uint8]) -> None:
    """Write a picture, whole or not at all."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    name, options = _WRITTEN[path.suffix.lower()]
    buffer = io.BytesIO()
    picture.save(buffer, format=name, **options)
    with write_beside(path) as file:
        file.write(buffer.getbuffer())


class _PillowSettings:
    """Pillow's limit on pixels lifted, since the caller's holds, and its warnings of damaged metadata silenced.

    Both hold for a whole program. So the first of the threads that read sets them, and the last one sets them back.
    """

    def __init__(self) -> None:
        self._lock, self._readers, self._settings = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._settings.enter_context(warnings.catch_warnings())
                self._settings.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                warnings.simplefilter("ignore")
                Image.MAX_IMAGE_PIXELS = None
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._settings.close()


_READING = _PillowSettings()
