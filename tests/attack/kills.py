"""Kills, without a chance to clean up, at any moment of a refinement of folders: what lies there is whole."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from tests.attack.judge import Try
from tests.refiner.networks import photograph


def tries(rng: Random) -> Iterator[Try]:
    """Endless."""
    number = 0
    while True:
        number += 1
        workers, later = rng.choice((1, 1, 2)), rng.random() * 3
        yield Try(f"kill {number}", lambda w=workers, s=later: _kill(w, s))


def _kill(workers: int, later: float) -> None:
    for folder, picture in (("photos", photograph(64, 64)), ("masks", np.eye(64, dtype=np.uint8))):
        Path(folder).mkdir()
        for index in range(300):
            Image.fromarray(picture).save(f"{folder}/{index}.png")
    words = [sys.executable, "-m", "spatialprop", "refine", "photos", "masks", "-o", "out", "--overlay"]
    command = subprocess.Popen(
        [*words, "--workers", str(workers)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 50
        while not Path("out").is_dir() and command.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(later)
    finally:
        os.killpg(command.pid, signal.SIGKILL)
        command.wait()
    for path in Path("out").glob("*.png"):
        with Image.open(path) as image:
            image.load()
        assert image.size == (64, 64)
