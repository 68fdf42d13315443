"""Files that come from stdin and go to stdout."""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

_LARGEST = 1 << 32  # bytes
_BEGINNINGS = {
    b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"II*\0": ".tif", b"MM\0*": ".tif", b"RIFF": ".webp", b"BM": ".bmp",
    b"PK": ".npz", b"\x93NUMPY": ".npy",
}  # fmt: skip


class Paths(NamedTuple):
    """Where the image, the coarse map and the result are; `piped` if the result goes to stdout."""

    image: str
    coarse: str | None
    output: str | None
    piped: bool = False


@contextmanager
def piped(options: argparse.Namespace) -> Iterator[Paths]:
    """Put files in the place of every `-`; in the end the result goes to stdout."""
    given = [options.image, options.coarse]
    if "-" not in (*given, options.output):
        yield Paths(options.image, options.coarse, options.output)
        return
    if given.count("-") > 1:
        raise ValueError("stdin holds one file: give either the image or the coarse map as -")
    if options.coco is not None or options.yolo or options.raster:
        raise ValueError("- is for an image and its mask; give files here")
    if options.probabilities or options.overlay or options.sheet:
        raise ValueError("stdout takes the refined mask alone; for what is written beside it, give files")
    if "-" in given and options.output is None:
        raise ValueError("say where the result goes: -o FILE, or -o - for stdout")
    if options.output == "-" and sys.stdout.isatty() and not options.dry_run:
        raise ValueError("a picture does not show in a terminal: redirect it by > refined.png")
    with TemporaryDirectory() as scratch:
        paths = [_from_stdin(Path(scratch)) if path == "-" else path for path in given]
        results = Path(scratch, "result")
        yield Paths(
            paths[0], paths[1], f"{results}/" if options.output == "-" else options.output, options.output == "-"
        )
        for result in results.glob("*"):
            with result.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def _from_stdin(folder: Path) -> str:
    content = sys.stdin.buffer.read(_LARGEST + 1)
    if not content:
        raise ValueError("stdin is empty: pipe a picture or an array into it")
    if len(content) > _LARGEST:
        raise ValueError(f"stdin has more than {_LARGEST >> 20} MiB; give a file")
    suffix = next((suffix for start, suffix in _BEGINNINGS.items() if content.startswith(start)), None)
    if suffix is None:
        raise ValueError(f"stdin holds none of {', '.join(dict.fromkeys(_BEGINNINGS.values()))}")
    path = folder / f"stdin{suffix}"
    path.write_bytes(content)
    return str(path)
