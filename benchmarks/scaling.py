"""What refining by Ray costs beside the command line: python benchmarks/scaling.py

Refines a few and many copies of examples/coffee.jpg and its mask, made smaller and each a little different, by
`spatialprop refine --workers 1` and by one actor of examples/with_ray.py. The difference between few and many is what
a mask takes; what is left of the few is what starting takes. Prints it, and writes results/benchmarks/scaling.md.
"""

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from spatialprop.files import write_file

REPOSITORY = Path(__file__).parents[1]
RESULT = REPOSITORY / "results" / "benchmarks" / "scaling.md"
EXAMPLE = str(REPOSITORY / "examples" / "with_ray.py")
WIDTH, HEIGHT = 500, 375
FEW, MANY = 16, 216


def write(folder: Path, count: int) -> None:
    """Write photos/ and masks/."""
    with Image.open(REPOSITORY / "examples" / "coffee.jpg") as photo:
        picture = photo.convert("RGB").resize((WIDTH + 24, HEIGHT), Image.Resampling.LANCZOS)
    with Image.open(REPOSITORY / "examples" / "coffee_mask.png") as mask:
        labels = mask.resize((WIDTH + 24, HEIGHT), Image.Resampling.NEAREST)
    for name, whole, suffix in (("photos", picture, "jpg"), ("masks", labels, "png")):
        (folder / name).mkdir()
        for number in range(count):
            left = number % 24
            whole.crop((left, 0, left + WIDTH, HEIGHT)).save(folder / name / f"{number:06d}.{suffix}")


def seconds(folder: Path, *command: str) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - start


def measure(count: int) -> dict[str, float]:
    """Seconds by the command line, by an actor, and those in which the actor computed."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(folder, count)
        command = seconds(folder, "-m", "spatialprop", "refine", "photos", "masks", "-o", "refined", "--workers", "1")
        seconds(folder, EXAMPLE, "pack", "photos", "masks", "masks.parquet")
        actor = seconds(folder, EXAMPLE, "refine", "masks.parquet", "refined.parquet", "--actors", "1")
        computed = pq.read_table(folder / "refined.parquet", columns=["milliseconds"])["milliseconds"].to_numpy()
        return {"command": command, "actor": actor, "computed": float(computed.sum()) / 1000}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    few, many = measure(FEW), measure(MANY)
    each = {name: (many[name] - few[name]) / (MANY - FEW) for name in few}
    start = {name: few[name] - FEW * each[name] for name in few}
    load = f"where {os.getloadavg()[0]:.0f} processes wanted a core" if os.getloadavg()[0] > 3 else "otherwise idle"
    text = (
        f"Masks of {WIDTH} x {HEIGHT} pixels, a machine of {os.cpu_count()} cores, {load}, Ray "
        f"{importlib.metadata.version('ray')} on this machine alone; from {FEW} and {MANY} masks. "
        f"`python benchmarks/scaling.py`\n\n"
        f"|  | start | each mask |\n| --- | ---: | ---: |\n"
        f"| `spatialprop refine --workers 1` | {start['command']:.1f} s | {1000 * each['command']:.0f} ms |\n"
        f"| one actor of examples/with_ray.py | {start['actor']:.1f} s | {1000 * each['actor']:.0f} ms, of which it "
        f"computes {1000 * each['computed']:.0f} |\n"
    )
    write_file(RESULT, text)
    print(text, end="")


if __name__ == "__main__":
    main()
