"""Annotations (COCO, YOLO), rasters (GeoTIFF) and label maps with a label for unknown (VOC), through `refine`."""

import io
import json
import xml.sax.saxutils
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from tests.attack.judge import Try, command
from tests.attack.mutation import VALUES, changed, damaged
from tests.formats.test_coco import box, run_lengths

HEIGHT, WIDTH = 90, 120  # as the boxes of the tests' masks have it
FOREIGN = ("../owned", "/etc/passwd", "/dev/zero", "a.png/../../x.png", "link.png", "pipe.png", "b.png", "a" * 300)
COCO: tuple[Any, ...] = (
    *VALUES,
    *FOREIGN,
    [[1e7, 0, 1, 1, 2, 2]],
    [[-5, -5, 500, -5, 500, 500, -5, 500]],
    [[0, 0, 0, 0, 0, 0]],
    [[1, 2, 3]],
    {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]},
    {"size": [HEIGHT, WIDTH], "counts": [-1, HEIGHT * WIDTH + 1]},
    {"size": [HEIGHT, WIDTH], "counts": [1 << 62, 1 << 62]},
    {"size": [1 << 31, 1 << 31], "counts": "0"},
    {"size": [HEIGHT, WIDTH], "counts": "~" * 99},
    {"size": [HEIGHT, WIDTH], "counts": "PPPPPPPPPPPPPPPPPPPPPPPPPPP"},
    {"size": [WIDTH, HEIGHT], "counts": [0, HEIGHT * WIDTH]},
    1 << 31,
    10**9,
)
WORDS = ("0", "1", "-1", "0.5", "1.5", "2", "nan", "inf", "1e-9", "1e400", "x", "٣", "0x1", "1_0", "", "9" * 50)
OPTIONS = (["--dry-run"], ["--json"], ["--shard", "1/2"], ["--shard", "2/2"], ["--shard", "0/2"], ["--rough", "4"])


@cache
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def annotations() -> dict[str, Any]:
    part = {"image_id": 7, "category_id": 2}
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 8, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
        ],
        "categories": [{"id": 2, "name": "thing"}],
        "annotations": [
            {**part, "id": 1, "iscrowd": 0, "segmentation": [[10, 20, 40, 20, 40, 50, 10, 50]]},
            {**part, "id": 2, "iscrowd": 0, "segmentation": run_lengths(box(30, 30, 60, 70))},
            {**part, "id": 3, "iscrowd": 1, "segmentation": run_lengths(box(0, 0, 9, 9), compressed=False)},
            {**part, "id": 4, "image_id": 8, "segmentation": run_lengths(box(0, 110, 9, 120), compressed=False)},
            {**part, "id": 5, "bbox": [1, 2, 3, 4], "segmentation": []},
        ],
    }


@cache
def tif(kind: str) -> bytes:
    """A picture or a label map, with its georeference."""
    with rasterio.MemoryFile() as file:
        values = np.moveaxis(pixels(), -1, 0) if kind != "labels" else np.eye(HEIGHT, WIDTH, dtype=np.uint8)[None] * 3
        values = values.astype(np.uint16) if kind == "deep" else values
        place = {"crs": "EPSG:32633", "transform": from_origin(500000, 5800000, 0.5, 0.5)}
        settings = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": len(values), "dtype": values.dtype}
        tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"} if kind == "labels" else {}
        with file.open(**settings, **place, **tiles) as opened:
            opened.write(values)
        return bytes(file.read())


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        name, act = rng.choice((("coco", _coco), ("yolo", _yolo), ("raster", _raster), ("voc", _voc)))
        yield Try(f"{name} {number}", lambda a=act, s=rng.random(): a(Random(s)))


def _coco(rng: Random) -> None:
    _lay(rng)
    given = annotations()
    for _ in range(rng.choice((1, 1, 2))):
        given = changed(rng, given, COCO)
    content = json.dumps(given).encode(errors="surrogatepass")
    Path("given.json").write_bytes(damaged(rng, content) if rng.random() < 0.2 else content)
    _refine(["--coco", "given.json", "photos", "-o", "out.json", *_options(rng)])
    if Path("out.json").exists():
        assert isinstance(json.loads(Path("out.json").read_text())["annotations"], list)


def _yolo(rng: Random) -> None:
    _lay(rng)
    lines = ["0 0.1 0.2 0.6 0.2 0.6 0.7 0.1 0.7", "3 0.5 0.5 0.2 0.2"]
    for _ in range(rng.choice((1, 1, 2, 3))):
        line = rng.randrange(len(lines))
        words = lines[line].split(" ")
        words[rng.randrange(len(words))] = rng.choice(WORDS)
        lines[line] = " ".join(words)
    if rng.random() < 0.3:
        lines.append(" ".join(rng.choice(WORDS) for _ in range(rng.choice((1, 5, 7, 8, 9, 2001)))))
    content = "\n".join(lines).encode()
    Path("labels").mkdir()
    Path("labels/a.txt").write_bytes(damaged(rng, content) if rng.random() < 0.4 else content)
    _refine(["--yolo", "photos", "labels", "-o", "out", *_options(rng)])


def _raster(rng: Random) -> None:
    for name, kind in (("photo.tif", rng.choice(("picture", "picture", "deep"))), ("mask.tif", "labels")):
        content = tif(kind)
        if rng.random() < 0.6:
            content = damaged(rng, content) if rng.random() < 0.5 else _retagged(rng, content)
        Path(name).write_bytes(content)
    if rng.random() < 0.15:
        outside = xml.sax.saxutils.escape(rng.choice(("/etc/passwd", "/vsicurl/http://127.0.0.1:1/x.tif", "photo.tif")))
        Path("photo.tif.aux.xml").write_text(
            f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{outside}</MDI></Metadata></PAMDataset>'
        )
    _refine(["--raster", "photo.tif", "mask.tif", "-o", "out.tif", *_options(rng)])


def _retagged(rng: Random, content: bytes) -> bytes:
    """A TIFF in which one entry of the first directory has another value."""
    found = bytearray(content)
    start = int.from_bytes(found[4:8], "little")
    count = int.from_bytes(found[start : start + 2], "little")
    place = start + 2 + 12 * rng.randrange(count)
    value = rng.choice((0, 1, 2, 3, 255, 65535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1))
    if rng.random() < 0.8:
        found[place + 8 : place + 12] = value.to_bytes(4, "little")
    else:
        found[place + 4 : place + 8] = value.to_bytes(4, "little")  # how many values it has
    return bytes(found)


def _voc(rng: Random) -> None:
    _lay(rng)
    labels = np.eye(HEIGHT, WIDTH, dtype=np.uint8) * rng.choice((1, 20, 255))
    labels[rng.randrange(HEIGHT)] = rng.choice((0, 255, 7))
    image = Image.fromarray(labels, "L")
    if rng.random() < 0.5:
        image = image.convert("P")
        image.putpalette([rng.randrange(256) for _ in range(3 * rng.choice((2, 21, 256)))])
    stored = io.BytesIO()
    image.save(stored, "PNG")
    Path("masks").mkdir()
    content = damaged(rng, stored.getvalue()) if rng.random() < 0.3 else stored.getvalue()
    Path("masks/a.png").write_bytes(content)
    unknown = rng.choice(("255", "0", "7", "-1", "65536", "x", "1e3", ""))
    _refine(["photos", "masks", "-o", "out", "--unknown", unknown, *_options(rng)])


def _options(rng: Random) -> list[str]:
    return rng.choice(OPTIONS) if rng.random() < 0.4 else []


def _lay(rng: Random) -> None:
    """A folder of photographs, in which one may be anything else."""
    Path("photos").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels()).save(f"photos/{name}", compress_level=1)
    if rng.random() < 0.1:
        Path("photos/link.png").symlink_to("/etc/passwd")
    if rng.random() < 0.1:
        Path("photos/a.png").write_bytes(damaged(rng, Path("photos/a.png").read_bytes()))


def _refine(words: list[str]) -> None:
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    try:
        command(["refine", *words])
    finally:
        for path, content in before.items():
            assert path.read_bytes() == content, f"{path} was replaced"
