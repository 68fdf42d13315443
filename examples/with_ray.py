"""Refine the masks of a data set on a Ray cluster.

    pip install "spatialprop[ray]"
    python examples/with_ray.py pack photos/ masks/ masks.parquet      # or make such files yourself
    python examples/with_ray.py refine masks.parquet refined.parquet --actors 4

The rows have the columns `name`, `image` and `mask`, the last two as encoded pictures; refinement adds `refined`, a
PNG, and `milliseconds`. Files and folders of Parquet are read from and written to wherever Ray Data can: a disk, s3://,
gs://. Each actor loads the refiner once. A cluster is found by RAY_ADDRESS; without one Ray starts here.
"""

import argparse
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from PIL import Image

from spatialprop import Refiner
from spatialprop.refiner import Rough

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")  # Pillow knows more, and runs other programs for some of them


class RefineMasks:
    """What an actor of `map_batches` does with a batch of rows.

    Args:
        weights: A name, a file that all machines see, or hf:owner/name.
        rough: By how many pixels the borders of the masks may be off; "auto" as the network sees them.
    """

    def __init__(self, weights: str = "light", rough: Rough = "auto") -> None:
        self.refiner = Refiner.load(weights)
        self.rough = rough

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add the columns `refined` and `milliseconds`."""
        found, took = [], []
        for image, mask in zip(batch["image"], batch["mask"], strict=True):
            start = time.perf_counter()
            found.append(self.refine(image, mask))
            took.append(1000 * (time.perf_counter() - start))
        return {**batch, "refined": np.array(found, object), "milliseconds": np.array(took)}

    def refine(self, image: bytes, mask: bytes) -> bytes:
        """Refine a mask whose grey levels or palette indices are labels."""
        with opened(image) as photo, opened(mask) as picture:
            labels = self.refiner(np.asarray(photo.convert("RGB")), np.asarray(picture), rough=self.rough)
            refined = Image.fromarray(labels)
            if picture.mode == "P":
                refined.putpalette(picture.getpalette())
        buffer = io.BytesIO()
        refined.save(buffer, "PNG")
        return buffer.getvalue()


def opened(encoded: bytes) -> Image.Image:
    """A picture of a format that spatialprop reads."""
    return Image.open(io.BytesIO(encoded), formats=FORMATS)


def refine(source: str, target: str, actors: int, weights: str, rough: Rough) -> None:
    """Refine a data set of Parquet files into another."""
    if not ray.is_initialized():
        ray.init()
    processors = int(ray.cluster_resources().get("CPU", 0))
    if actors >= processors:  # Ray would wait for ever for one to read with
        raise SystemExit(
            f"{actors} actors need a cluster of {actors + 1} processors, one of them to read and write with; it has "
            f"{processors}: give fewer --actors"
        )
    rows = ray.data.read_parquet(source)
    refined = rows.map_batches(
        RefineMasks,
        fn_constructor_kwargs={"weights": weights, "rough": rough},
        batch_size=8,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=1,  # of each actor; num_gpus=1 and Refiner.load(weights, device="cuda") for GPUs
    )
    refined.write_parquet(target)


def pack(photos: Path, masks: Path, target: str) -> int:
    """Write photographs and the masks of the same names into one Parquet file. Returns the number of rows."""
    pictures = {path.stem: path for path in sorted(photos.iterdir())}
    pairs = [(path.stem, pictures[path.stem], path) for path in sorted(masks.iterdir()) if path.stem in pictures]
    columns = {
        "name": [name for name, _, _ in pairs],
        "image": [image.read_bytes() for _, image, _ in pairs],
        "mask": [mask.read_bytes() for _, _, mask in pairs],
    }
    pq.write_table(pa.table(columns), target, row_group_size=64)
    return len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack", help="write photographs and masks into one Parquet file")
    packing.add_argument("photos", type=Path)
    packing.add_argument("masks", type=Path)
    packing.add_argument("target")
    refining = commands.add_parser("refine", help="refine the masks of Parquet files into others")
    refining.add_argument("source")
    refining.add_argument("target")
    refining.add_argument("--actors", type=int, default=1, help="fewer than there are processors (default: 1)")
    refining.add_argument("--weights", default="light")
    refining.add_argument("--rough", type=lambda text: text if text == "auto" else float(text), default="auto")
    options = parser.parse_args()
    if options.command == "pack":
        print(f"{options.target}: {pack(options.photos, options.masks, options.target)} rows")
        return
    start = time.perf_counter()
    refine(options.source, options.target, options.actors, options.weights, options.rough)
    took = ray.data.read_parquet(options.target, columns=["milliseconds"]).to_pandas()["milliseconds"]
    whole = time.perf_counter() - start
    print(
        f"{len(took)} masks in {whole:.1f} s, of which each actor computed {took.sum() / 1000 / options.actors:.1f} s"
    )


if __name__ == "__main__":
    main()
