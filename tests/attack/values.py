"""Mattes and colours: pictures, trimaps, scribbles and weights, from the shell and from Python."""

import io
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from spatialprop import Colorize, Matte
from spatialprop.values import save_values
from tests.attack import calls, files
from tests.attack.judge import Try, command
from tests.attack.mutation import changed, damaged
from tests.values.test_values import COLOURS, network

HEIGHT, WIDTH = 24, 32  # of the pictures that `files` makes
NUMBERS = ("0", "1", "-1", "5", "1000", "1e9", "x", "nan", "99999999999999999999")


@cache
def weights(kind: str) -> bytes:
    path = Path(f"{kind}.safetensors")
    save_values(network(**(COLOURS if kind == "colour" else {})), path)
    return path.read_bytes()


@cache
def matte() -> Matte:
    return Matte(network())


@cache
def colorize() -> Colorize:
    return Colorize(network(**COLOURS))


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        kind, seed = rng.random(), rng.random()
        if kind < 0.35:
            yield Try(f"weights {number}", lambda s=seed: _weights(Random(s)))
        elif kind < 0.7:
            yield Try(f"files {number}", lambda s=seed: _files(Random(s)))
        else:
            yield Try(f"arrays {number}", lambda s=seed: _arrays(Random(s)))


def _weights(rng: Random) -> None:
    """Weights whose header is changed, or whose bytes are."""
    kind = rng.choice(("matte", "colour"))
    whole = weights(kind)
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    if rng.random() < 0.3:
        content = damaged(rng, whole)
    else:
        if rng.random() < 0.8:
            own = json.loads(header["__metadata__"]["spatialprop"])
            header["__metadata__"]["spatialprop"] = json.dumps(changed(rng, own))
        else:
            header = changed(rng, header)
        text = json.dumps(header).encode()
        content = len(text).to_bytes(8, "little") + text + whole[8 + size :]
    path = Path("w.safetensors")
    path.write_bytes(content)
    if kind == "matte":
        trimap = np.full((HEIGHT, WIDTH), 128, np.uint8)
        trimap[:4], trimap[-4:] = 0, 255
        found = Matte.load(path)(np.zeros((HEIGHT, WIDTH, 3), np.uint8), trimap)
        assert np.isfinite(found).all()
        assert 0 <= found.min() <= found.max() <= 1
    else:
        strokes = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        strokes[3, :9] = 200, 10, 10
        assert Colorize.load(path)(np.zeros((HEIGHT, WIDTH), np.uint8), strokes).shape == (HEIGHT, WIDTH, 3)


def _picture(rng: Random) -> tuple[str, bytes]:
    suffix = rng.choice(list(files.FORMATS))
    found = files.picture(suffix, rng.choice(files.MODES), rng.randrange(20)) or b""
    return suffix, damaged(rng, found) if rng.random() < 0.3 else found


def _trimap(rng: Random) -> bytes:
    values = np.random.default_rng(rng.randrange(99)).choice([0, 128, 255], (HEIGHT, WIDTH)).astype(np.uint8)
    if rng.random() < 0.3:
        values[values == rng.choice((0, 255))] = 128
    stored = io.BytesIO()
    image = Image.fromarray(values)
    if rng.random() < 0.3:
        image = image.convert(rng.choice(("RGB", "RGBA", "P", "1", "LA")))
    image.save(stored, "PNG")
    return damaged(rng, stored.getvalue()) if rng.random() < 0.2 else stored.getvalue()


def _files(rng: Random) -> None:
    name = rng.choice(("matte", "colorize"))
    suffix, content = _picture(rng)
    Path(f"photo{suffix}").write_bytes(content)
    other = "given.png"
    if name == "matte" and rng.random() < 0.8:
        Path(other).write_bytes(_trimap(rng))
    else:
        ending, content = _picture(rng)
        other = f"given{ending}"
        Path(other).write_bytes(content)
    Path("w.safetensors").write_bytes(weights("matte" if name == "matte" else "colour"))
    words = [name, f"photo{suffix}", other, "--weights", "w.safetensors"]
    if rng.random() < 0.5:
        words += ["-o", rng.choice(("out.png", "out/x.png", "out.jpg", other, "out", "/dev/full", "out.tif", ""))]
    if rng.random() < 0.2:
        words += ["--most-pixels", rng.choice(NUMBERS)]
    if name == "matte":
        words += rng.choice(([], [], ["--cut-out", rng.choice(("cut.png", "cut.jpg", other))]))
        words += rng.choice(([], [], ["--band", rng.choice(NUMBERS)]))
    inputs = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    try:
        command(words, (0, 2))
    finally:
        for path, before in inputs.items():
            assert path.read_bytes() == before, f"{path} was replaced"


def _arrays(rng: Random) -> None:
    size = (HEIGHT, WIDTH)
    image = calls.image(rng)
    if rng.random() < 0.5:
        trimap = np.random.default_rng(rng.randrange(99)).choice([0, 128, 255], size).astype(np.uint8)
        given = trimap if rng.random() < 0.4 else calls.values(rng)
        if rng.random() < 0.6:
            found = matte()(image, given)
        else:
            found = matte().from_mask(image, given, rng.choice((0, 1, 3, -1, 1 << 40)))
        assert np.isfinite(found).all()
        assert 0 <= found.min() <= found.max() <= 1
    else:
        given = rng.choice((calls.image, calls.values))(rng)
        assert colorize()(image, given).dtype == np.uint8
