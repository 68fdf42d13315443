"""Command lines: every command with words and values that do not fit, among files of all kinds."""

import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from tests.attack.judge import Try, command

PLACES = (
    "image.png",
    "mask.png",
    "photos",
    "masks",
    "nowhere",
    "",
    ".",
    "..",
    "pipe",
    "/dev/zero",
    "/dev/null",
    "photos/*.png",
    "masks/*",
    "**",
    "[",
    "link",
    "a" * 300,
    "image.png/x",
    "-",
    "--",
    "\x00",
    "ä\udcff.png",
    "run",
)
NUMBERS = ("0", "1", "-1", "2", "1e9", "nan", "inf", "x", "", "99999999999999999999", "3,4", "1.5")
OPTIONS = (
    "--overlay",
    "--sheet",
    "--probabilities",
    "--skip-existing",
    "--no-restrict",
    "--help",
    "--what",
    "--yolo",
    "--raster",
    "--json",
    "--dry-run",
)
VALUED = {
    "-o": PLACES,
    "--palette": PLACES,
    "--weights": ("light", "nowhere", "image.png", "/dev/zero", ""),
    "--classes": NUMBERS,
    "--rough": NUMBERS,
    "--most-pixels": NUMBERS,
    "--kind": ("labels", "mask", "alpha", "colours", "auto", "x"),
    "--device": ("cpu", "cuda", "x", ""),
    "--to": ("x.safetensors", "x.onnx", "nowhere/x", "", "image.png"),
    "--shard": ("1/2", "2/2", "0/1", "3/2", "1/99999999999", "x", "1/", ""),
    "--unknown": NUMBERS,
    "--workers": ("1", "0", "x"),
    "--band": NUMBERS,
    "--cut-out": PLACES,
    "--coco": PLACES,
    "--pixel": ("3,4", "3", "-1,0", "99,99", "x"),
}
COMMANDS = ("explain", "export", "report", "data", "completion", "train", "evaluate", "matte", "colorize", "serve")
SETTINGS = (
    "root=photos",
    "root=",
    "root=/dev/zero",
    "size=[0,0]",
    "train=-1",
    "x=y",
    "=",
    "root=[",
    "a=${oc.env:HOME}",
)


def words(rng: Random) -> list[str]:
    name = rng.choice(("refine",) * 6 + (*COMMANDS, "", "x"))
    found = [name]
    if name == "data":
        part = rng.choice(("check", "get", "convert", "sheet", "x"))
        found += [part, rng.choice(("synthetic", "folder", "voc", "helen", "camvid", "x"))]
        found += rng.sample(SETTINGS, rng.randint(0, 2))
    elif name == "completion":
        return [*found, rng.choice(("bash", "zsh", "fish", "x", ""))]
    elif name == "serve":  # it serves nothing: each of these is refused, or shows the help
        return [*found, *rng.choice((["--port", "99999"], ["--port", "x"], ["--weights", "nowhere"], ["-h"], ["x"]))]
    elif name in ("train", "evaluate"):  # nothing is trained: the overrides are refused, or only shown
        return [
            *found,
            "--cfg",
            "job",
            *rng.sample(("run=nowhere", "run=", "x=y", "task=x", "seed=[", "+a.b=1", "data=../../etc"), 2),
        ]
    else:
        found += rng.choices(PLACES, k=rng.choice((1, 2, 2, 2, 3)))
    for _ in range(rng.choice((0, 0, 1, 2))):
        option = rng.choice((*VALUED, *OPTIONS))
        found += [option, *([rng.choice(VALUED[option])] if option in VALUED else [])]
    return found


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    while True:
        given = words(rng)
        yield Try(ascii(given), lambda g=given: _run(g))


def _run(given: list[str]) -> None:
    inputs = _lay()
    try:
        command(given)
    finally:
        for path, content in inputs.items():
            assert path.read_bytes() == content, f"{path} was replaced"


def _lay() -> dict[Path, bytes]:
    """Files of all kinds; those that no command may replace, with what they hold."""
    for folder in ("photos", "masks", "run"):
        Path(folder).mkdir()
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    labels = Image.fromarray(np.eye(24, 32, dtype=np.uint8))
    names = ("image.png", "photos/a.png", "photos/b.png", "photos/a_overlay.png")
    for name in names:
        photo.save(name)
    for name in ("mask.png", "masks/a.png", "masks/c.png"):
        labels.save(name)
    os.mkfifo("pipe")
    Path("link").symlink_to("image.png")
    paths = map(Path, (*names, "mask.png", "masks/a.png", "masks/c.png"))
    return {path: path.read_bytes() for path in paths}
