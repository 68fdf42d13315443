"""Damaged annotations and rasters: python -m tests.formats.fuzz [--tries 2000] [--seed 0]

Each is refined by a stand-in for the refiner. What ends in anything but a result or an `InputError` is kept in
tests/formats/corpus, which the tests read from then on.
"""

import argparse
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from spatialprop.errors import InputError
from spatialprop.formats import read_coco, refine_coco, refine_raster, refine_yolo

CORPUS = Path(__file__).with_name("corpus")
HEIGHT, WIDTH = 40, 60
_WORDS = [b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b"9" * 30, b"9" * 5000, b"true", b"0.5", b"1e6",
          b"-999999", b'"a.png\\u0000"', b'"\\ud800"', b'"../a.png"', b'"' + b"a" * 5000 + b'"', b"[[1,2,3,4,5,6]]",
          b"\xff", b"0", b"[0]", b"[2400]", b'"0"', b'"PPPPPPPPPPPP"']  # fmt: skip


def grow(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.maximum(mask, np.pad(mask, ((0, 0), (1, 0)))[:, :-1])


def seeds(folder: Path) -> dict[str, bytes]:
    """Whole files by their suffix, beside the photograph that they belong to."""
    import rasterio

    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "a.png")
    ring, runs = [10, 5, 40, 5, 40, 30, 10.5, 30], {"size": [HEIGHT, WIDTH], "counts": [410, 20, 20, 20, 1930]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {"id": number, "image_id": 1, "iscrowd": 0, "segmentation": one, "bbox": [10, 5, 30, 25], "area": 750.0}
            for number, one in enumerate([[ring], runs, {**runs, "counts": "j<d0d0d0bl1"}])
        ],
    }
    options = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 1, "dtype": "uint8"}
    labels = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    labels[:, 10:30, 10:30] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, more in (("photo", {}), ("mask", {"compress": "deflate", "nodata": 9})):
            with rasterio.open(folder / f"{name}.tif", "w", **options, **more) as file:
                file.write(labels)
    return {
        ".json": json.dumps(content).encode(),
        ".txt": b"0 0.1 0.1 0.6 0.1 0.6 0.7 0.1 0.7\n2 0.5 0.5 0.2 0.2\n",
        ".tif": (folder / "mask.tif").read_bytes(),
    }


def damaged(whole: bytes, random: np.random.Generator) -> bytes:
    """A value of a text, or some bytes, replaced by what readers stumble over; now and then a part is lost or twice."""
    found = bytearray(whole)
    text = whole.isascii()
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(len(found) + 1))
        to = at + int(random.integers(1, 12))
        kind = random.random()
        if kind < 0.1:
            del found[at:to]
        elif kind < 0.2:
            found[at:at] = found[at:to]
        elif kind < 0.3 or not text:
            found[at:to] = random.bytes(to - at)
        else:
            values = [match.span() for match in re.finditer(rb'"[^"]*"|[-+.\w]+|\[[^][]*\]', found)] or [(at, to)]
            start, stop = values[random.integers(len(values))]
            found[start:stop] = _WORDS[random.integers(len(_WORDS))]
    return bytes(found)


def read(path: Path, folder: Path) -> None:
    """Refine what a file holds, or raise why that cannot be."""
    readers: dict[str, Callable[[], object]] = {
        ".json": lambda: [*_known_problems(refine_coco(read_coco(path), folder, grow))],
        ".txt": lambda: refine_yolo(folder / "a.png", path, folder / "out.txt", grow),
        ".tif": lambda: [*refine_raster(folder / "photo.tif", path, folder / "out.tif", grow)],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GDAL's, about what it could read all the same
        readers[path.suffix]()


def _known_problems(outcomes: Iterator) -> Iterator:
    for outcome in outcomes:
        outcome.problem.encode()  # it will be printed
        yield outcome


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=2000, help="for each format")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    finds = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for suffix, whole in seeds(folder).items():
            refused = found = 0
            (folder / f"whole{suffix}").write_bytes(whole)
            read(folder / f"whole{suffix}", folder)
            random = np.random.default_rng(options.seed)
            for _ in range(options.tries):
                path = folder / f"damaged{suffix}"
                path.write_bytes(damaged(whole, random))
                try:
                    read(path, folder)
                except InputError:
                    refused += 1
                except Exception as error:
                    found += 1
                    CORPUS.mkdir(exist_ok=True)
                    kept = CORPUS / f"{type(error).__name__}_{options.seed}_{found}{suffix}"
                    kept.write_bytes(path.read_bytes())
                    print(f"{kept}: {type(error).__name__}: {str(error)[:200]}")
            print(f"{suffix}: {options.tries} tries, {refused} refused, {found} finds")
            finds += found
    return 1 if finds else 0


if __name__ == "__main__":
    raise SystemExit(main())
