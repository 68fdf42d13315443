"""Peak memory and time of refining a large GeoTIFF: python benchmarks/raster.py [--side 20000]

Writes a photograph of random texture and a label map of rectangles, both of `side` x `side` pixels, refines the map in
a process of its own by `spatialprop refine --raster`, and prints what that took as JSON.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

BLOCK = 1000


def write(folder: Path, side: int) -> None:
    """Write photo.tif and mask.tif block by block."""
    random = np.random.default_rng(0)
    grid = {"height": side, "width": side, "crs": "EPSG:3035", "transform": rasterio.Affine(0.2, 0, 4e6, 0, -0.2, 3e6)}
    stored = {"driver": "GTiff", "dtype": "uint8", "tiled": True, "compress": "deflate", "zlevel": 1, "bigtiff": "yes"}
    with (
        rasterio.open(folder / "photo.tif", "w", count=3, **grid, **stored) as photo,
        rasterio.open(folder / "mask.tif", "w", count=1, **grid, **stored) as mask,
    ):
        for top in range(0, side, BLOCK):
            for left in range(0, side, BLOCK):
                labels = np.zeros((BLOCK, BLOCK), np.uint8)
                for label in range(1, 6):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    side = parser.parse_args().side
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder, side)
        start = time.perf_counter()
        command = ["refine", "--raster", "photo.tif", "mask.tif", "-o", "out.tif", "--rough", "8", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "spatialprop", *command], cwd=folder, capture_output=True, text=True, check=True
        )
        took = time.perf_counter() - start
        # Of the children that have ended, the largest: the one that refined.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = {
            "side": side,
            "done": json.loads(done.stdout)["done"],
            "seconds": round(took),
            "processor_seconds": round(peak.ru_utime + peak.ru_stime),
            "peak_memory_GiB": round(peak.ru_maxrss / (1 << 20), 2),
            "file_MiB": {path.stem: round(path.stat().st_size / (1 << 20)) for path in sorted(folder.glob("*.tif"))},
            "machine": platform.machine(),
        }
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
