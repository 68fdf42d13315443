"""Peak memory and time of refining large GeoTIFFs: python benchmarks/raster.py [--sides 5000 20000]

Writes a photograph of random texture and a label map of rectangles, both of `side` x `side` pixels, and refines the map
in a process of its own by `spatialprop refine --raster --rough 8`. Prints what each took as JSON, and writes
results/benchmarks/raster.md.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from spatialprop.files import write_file

BLOCK = 1000
ROUGH = "8"  # pixels: every window is refined, whether the network judges labels or not
RESULT = Path(__file__).parents[1] / "results" / "benchmarks" / "raster.md"


def write(folder: Path, side: int, every: int) -> None:
    """Write photo.tif and mask.tif block by block."""
    random = np.random.default_rng(0)
    grid = {"height": side, "width": side, "crs": "EPSG:3035", "transform": rasterio.Affine(0.2, 0, 4e6, 0, -0.2, 3e6)}
    stored = {"driver": "GTiff", "dtype": "uint8", "tiled": True, "compress": "deflate", "zlevel": 1, "bigtiff": "yes"}
    with (
        rasterio.open(folder / "photo.tif", "w", count=3, **grid, **stored) as photo,
        rasterio.open(folder / "mask.tif", "w", count=1, **grid, **stored) as mask,
    ):
        corners = itertools.product(range(0, side, BLOCK), repeat=2)
        for number, (top, left) in enumerate(corners):
            labels = np.zeros((BLOCK, BLOCK), np.uint8)
            for label in range(1, 1 if number % every else 6):
                row, column = random.integers(0, BLOCK - 300, 2)
                height, width = random.integers(60, 300, 2)
                labels[row : row + height, column : column + width] = label
            colours = random.integers(40, 216, (6, 3))[labels].transpose(2, 0, 1)
            noise = random.integers(-30, 30, (3, BLOCK // 4, BLOCK // 4)).repeat(4, axis=1).repeat(4, axis=2)
            window = Window(left, top, min(BLOCK, side - left), min(BLOCK, side - top))
            size = (slice(None), slice(window.height), slice(window.width))
            photo.write((colours + noise).astype(np.uint8)[size], window=window)
            rough = np.roll(labels, random.integers(-6, 6, 2), axis=(0, 1))  # its borders are a little off
            mask.write(rough[size[1:]], 1, window=window)


def measure(side: int, every: int, weights: str, folder: Path) -> dict[str, Any]:
    """Refine a raster in a process of its own, and say what that took."""
    write(folder, side, every)
    start = time.perf_counter()
    command = ["refine", "--raster", "photo.tif", "mask.tif", "-o", "out.tif", "--weights", weights, "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "spatialprop", *command, "--rough", ROUGH], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)  # of this process alone
    if status:
        raise SystemExit(f"the refinement failed: {said}")
    return {
        "side": side,
        "every": every,
        "done": json.loads(said)["done"],
        "seconds": round(time.perf_counter() - start),
        "processor_seconds": round(used.ru_utime + used.ru_stime),
        "peak_memory_GiB": round(used.ru_maxrss / (1 << 20), 2),
        "file_MiB": {path.stem: round(path.stat().st_size / (1 << 20)) for path in sorted(folder.glob("*.tif"))},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[20_000])
    parser.add_argument("--every", type=int, default=1, help="objects in every so manyth block of 1000 x 1000 pixels")
    parser.add_argument("--weights", default="light")
    options = parser.parse_args()
    weights = str(Path(options.weights).resolve()) if Path(options.weights).is_file() else options.weights
    measured = []
    for side in options.sides:
        with tempfile.TemporaryDirectory() as scratch:
            measured.append(measure(side, options.every, weights, Path(scratch)))
        print(json.dumps(measured[-1]), flush=True)
    lines = [
        f"GeoTIFFs of three colours and of labels, with five objects in every {options.every} million pixels; windows "
        f"without a border are copied. A machine of {os.cpu_count()} cores that had other work, too. `python "
        f"benchmarks/raster.py --sides {' '.join(map(str, options.sides))} --every {options.every} "
        f"--weights {Path(options.weights).name}`",
        "",
        "| pixels | windows | seconds | of a processor | peak memory |",
        "|---|---|---:|---:|---:|",
    ]
    for one in measured:
        side, took, busy = one["side"], one["seconds"], one["processor_seconds"]
        lines.append(f"| {side:,} x {side:,} | {one['done']} | {took} | {busy} | {one['peak_memory_GiB']:.2f} GiB |")
    write_file(RESULT, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
