"""What refining a video takes, frame by frame: python benchmarks/frames.py [--weights light]

Cuts frames of 1280 x 720 pixels with masks of three classes out of examples/coffee.jpg, the camera moving down, and
refines a few and many of them by `spatialprop refine frames/ masks/ -o refined/`: the difference is what frames take,
without the start of the program. Prints it, and writes results/benchmarks/frames.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from spatialprop.files import write_file

REPOSITORY = Path(__file__).parents[1]
RESULT = REPOSITORY / "results" / "benchmarks" / "frames.md"
WIDTH, HEIGHT = 1280, 720
FEW, MANY = 3, 23


def write(folder: Path, count: int) -> None:
    """Write frames/ and masks/."""
    tall = (WIDTH, WIDTH * 2 // 3)
    with Image.open(REPOSITORY / "examples" / "coffee.jpg") as photo:
        frames = photo.convert("RGB").resize(tall, Image.Resampling.LANCZOS)
    with Image.open(REPOSITORY / "examples" / "coffee_mask.png") as mask:
        masks = mask.resize(tall, Image.Resampling.NEAREST)
    for name, pictures in (("frames", frames), ("masks", masks)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pictures.crop((0, 4 * number, WIDTH, 4 * number + HEIGHT)).save(folder / name / f"{number:06d}.png")


def measure(folder: Path, weights: str) -> tuple[float, float]:
    """Seconds, and those of all cores together."""
    start = time.perf_counter()
    command = ["refine", "frames", "masks", "-o", "refined", "--weights", weights, "--json"]
    process = subprocess.Popen([sys.executable, "-m", "spatialprop", *command], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the refinement failed")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="light")
    given = parser.parse_args().weights
    weights = str(Path(given).resolve()) if Path(given).is_file() else given
    took = []
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory() as scratch:
            write(Path(scratch), count)
            took.append(measure(Path(scratch), weights))
    (few, few_busy), (many, many_busy) = took
    frames = MANY - FEW
    load = f"where {os.getloadavg()[0]:.0f} processes wanted a core" if os.getloadavg()[0] > 2 else "otherwise idle"
    text = (
        f"Frames of {WIDTH} x {HEIGHT} pixels, three classes, one worker, a machine of {os.cpu_count()} cores, {load}: "
        f"{(many_busy - few_busy) / frames:.2f} s of a core for each frame, {(many - few) / frames:.2f} s on the "
        f"clock. `python benchmarks/frames.py --weights {Path(given).name}`\n"
    )
    write_file(RESULT, text)
    print(text, end="")


if __name__ == "__main__":
    main()
