"""Pictures, masks, arrays and palettes, read by themselves and through `spatialprop refine`."""

import io
import json
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from spatialprop.maskfiles import read_coarse, read_image, read_image_size, read_indices, read_palette
from tests.attack.judge import Try, command
from tests.attack.mutation import damaged

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".tif": "TIFF", ".webp": "WEBP", ".bmp": "BMP"}
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK")
DTYPES = ("<f4", "<f8", "<f2", "|u1", "<i4", "<i8", "<u2", "|b1", "|O", "<c8", "|S5", "<U3", "<M8[s]", ">f4", "|V3")
SHAPES = ((24, 32), (2, 24, 32), (1, 24, 32), (0, 3), (), (3,), (24, 32, 3), (1 << 40,), (1 << 20, 1 << 20), (-1, 5))
FOREIGN = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(owned) (w) file closefile\n",
    b"GIF89a\x01\x00\x01\x00",
    b"P5 9 9 255\n" + bytes(81),
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"8BPS\x00\x01",
    b"SIMPLE  =",
    b"<svg/>",
    b"",
)


@cache
def picture(suffix: str, mode: str, seed: int) -> bytes | None:
    """A small picture in a format, None if that has no such mode."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (24, 32, 3), np.uint8)
    image = (
        Image.fromarray(pixels).convert(mode) if mode != "I;16" else Image.fromarray(pixels[..., 0].astype(np.uint16))
    )
    stored = io.BytesIO()
    try:
        image.save(stored, format=FORMATS[suffix], **({"exif": _exif(seed % 9)} if suffix == ".jpg" else {}))
    except (OSError, KeyError, ValueError):
        return None
    return stored.getvalue()


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def array(rng: Random) -> bytes:
    """An .npy whose header may claim anything."""
    header = {"descr": rng.choice(DTYPES), "fortran_order": rng.random() < 0.3, "shape": rng.choice(SHAPES)}
    text = repr(header) if rng.random() < 0.9 else rng.choice(("{" * 5000, "__import__('os')", "", json.dumps(header)))
    version = rng.choice((1, 1, 1, 2, 2, 3, 9))
    size = len(text) if rng.random() < 0.8 else rng.choice((0, 9999, 65535, 0xFFFFFFFF))
    length = (size & 0xFFFF).to_bytes(2, "little") if version == 1 else (size & 0xFFFFFFFF).to_bytes(4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + rng.randbytes(rng.choice((0, 10, 768, 6144)))


def archive(rng: Random, content: bytes) -> bytes:
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as members:
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            members.writestr(
                rng.choice(("probs.npy", "labels.npy", "x.npy", "../owned.npy", "classes.npy", "x")), content
            )
        if rng.random() < 0.1:
            members.writestr("probs.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xef" + b" " * (1 << 24))
    return stored.getvalue()


def mask(rng: Random) -> tuple[str, bytes]:
    """A file name and what it holds."""
    kind = rng.random()
    if kind < 0.15:
        return f"mask{rng.choice(list(FORMATS))}", rng.choice(FOREIGN)
    if kind < 0.3:
        return "mask.npy", array(rng)
    if kind < 0.45:
        found = archive(rng, array(rng))
        return "mask.npz", damaged(rng, found) if rng.random() < 0.5 else found
    suffix = rng.choice(list(FORMATS))
    found = picture(suffix, rng.choice(MODES), rng.randrange(20)) or b""
    return f"mask{rng.choice((suffix, suffix, '.png'))}", damaged(rng, found) if rng.random() < 0.5 else found


def palette(rng: Random) -> bytes:
    lines = [
        " ".join(str(rng.choice((0, 1, 255, 256, -1, "x", ""))) for _ in range(rng.randint(0, 5))) for _ in range(4)
    ]
    return damaged(rng, "\n".join(lines).encode())


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        name, content = mask(rng)
        kind = rng.random()
        if kind < 0.6:
            read = rng.choice((read_image, read_image_size, read_indices, read_coarse, read_coarse))
            options = (
                {"kind": rng.choice(("auto", "labels", "mask", "alpha", "colours"))} if read is read_coarse else {}
            )
            yield Try(
                f"{read.__name__} {name} {number}", lambda r=read, n=name, c=content, o=options: _read(r, n, c, o)
            )
        elif kind < 0.7:
            yield Try(f"read_palette {number}", lambda c=palette(rng): _read(read_palette, "p.txt", c, {}))
        else:
            image = picture(".png", "RGB", rng.randrange(20)) or b""
            image = damaged(rng, image) if rng.random() < 0.3 else image
            extras = rng.sample(("--overlay", "--sheet", "--probabilities", "--no-restrict"), rng.randint(0, 2))
            yield Try(f"refine {name} {number}", lambda i=image, n=name, c=content, e=extras: _refine(i, n, c, e))


def _read(read, name, content, options):
    Path(name).write_bytes(content)
    read(Path(name), **options)


def _refine(image, name, content, extras):
    Path("image.png").write_bytes(image)
    Path(name).write_bytes(content)
    command(["refine", "image.png", name, *extras])
