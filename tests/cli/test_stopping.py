"""SIGTERM ends `spatialprop refine` and its workers, and leaves nothing behind. With real processes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.refiner.networks import photograph

# Workers import it too, so they refine as it says: each writes its number, then half of a file that never gets whole.
PROGRAM = """
import os, sys, time
from pathlib import Path
from spatialprop.cli import main
from spatialprop.cli.refine import work as refine_work
from spatialprop.files import write_beside

def refine_file(refiner, job, settings):
    job.stem.parent.mkdir(exist_ok=True)
    with write_beside(job.beside(".png")) as file:
        file.write(b"half")
        Path(f"{os.getpid()}.started").touch()
        time.sleep(300)

refine_work.refine_file = refine_file
if __name__ == "__main__":
    sys.exit(main())
"""
PATIENCE = 120  # seconds, for machines that have much else to do


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="other systems end processes without asking them")
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_everything(tmp_path, workers):
    (tmp_path / "program.py").write_text(PROGRAM)
    for folder, picture in (("photos", photograph(8, 8)), ("masks", np.zeros((8, 8), np.uint8))):
        (tmp_path / folder).mkdir()
        for name in "abcdef":
            Image.fromarray(picture).save(tmp_path / folder / f"{name}.png")
    words = [sys.executable, "program.py", "refine", "photos", "masks", "-o", "out", "--workers", str(workers)]
    started: list[int] = []
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as command:
        try:
            until(lambda: command.poll() is not None or len(list(tmp_path.glob("*.started"))) == workers)
            started = [int(path.stem) for path in tmp_path.glob("*.started")]
            assert len(started) == workers
            command.terminate()
            problems = command.communicate(timeout=PATIENCE)[1]
            assert command.returncode == 143
            assert "stopped after 0 of 6 or a few more; go on with --skip-existing" in problems
            assert "Traceback" not in problems
            until(lambda: not any(map(lives, started)))
        finally:
            command.kill()
            for process in filter(lives, started):
                os.kill(process, signal.SIGKILL)
    assert not list((tmp_path / "out").iterdir())
    assert len(list(tmp_path.glob("*.started"))) == workers, "no further file was begun"
