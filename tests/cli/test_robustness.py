"""`spatialprop refine` among files that kill, parents that die, and places where its words do not fit."""

import os
import runpy
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from spatialprop.cli import main
from tests.experiment.tiny import REPOSITORY
from tests.refiner.networks import photograph

# Workers import it too: one file kills its worker, as one for which memory does not suffice.
KILLED = """
import os, signal, sys
from spatialprop.cli import main
from spatialprop.cli.refine import work

refine = work.refine_file

def refine_file(refiner, job, settings):
    if job.stem.name == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return refine(refiner, job, settings)

work.refine_file = refine_file
if __name__ == "__main__":
    sys.exit(main())
"""
BUSY = """
import os, sys, time
from pathlib import Path
from spatialprop.cli import main
from spatialprop.cli.refine import work

def refine_file(refiner, job, settings):
    if not list(Path().glob("*.started")):
        Path(f"{os.getpid()}.started").touch()
        time.sleep(300)
    Path(f"{os.getpid()}.started").touch()
    return work.Outcome(job)  # and then it waits for work

work.refine_file = refine_file
if __name__ == "__main__":
    sys.exit(main())
"""
WORDS = ("refine", "photos", "masks", "-o", "out")


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, picture in (("photos", photograph(8, 8)), ("masks", np.eye(8, dtype=np.uint8))):
        (tmp_path / folder).mkdir()
        for name in "abcd":
            Image.fromarray(picture).save(tmp_path / folder / f"{name}.png")
    return tmp_path


@pytest.mark.slow
def test_a_file_that_kills_its_worker_is_named_and_the_rest_is_refined(data):
    (data / "program.py").write_text(KILLED)
    done = subprocess.run(
        [sys.executable, "program.py", *WORDS, "--workers", "2"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stdout == "3 refined, 0 there already, 1 failed\n"
    assert "b.png: its worker was killed" in done.stderr
    assert sorted(path.stem for path in (data / "out").iterdir()) == ["a", "c", "d"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="it kills")
def test_workers_of_a_killed_parent_end_by_themselves(data):
    (data / "program.py").write_text(BUSY)
    command = subprocess.Popen([sys.executable, "program.py", *WORDS, "--workers", "2"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(list(data.glob("*.started"))) == 2)
    finally:
        command.kill()
        command.wait()
    workers = [int(path.stem) for path in data.glob("*.started")]
    wait_for(lambda: not any(os.path.exists(f"/proc/{worker}") for worker in workers))


def wait_for(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_an_input_without_a_partner_is_not_replaced(data, capsys):
    for path in list((data / "photos").iterdir()):
        path.rename(path.with_suffix(".jpg"))  # so that results have no photograph's name
    Image.fromarray(photograph(8, 8)).save("photos/a_overlay.png")
    before = (data / "photos/a_overlay.png").read_bytes()
    assert main(["refine", "photos", "masks", "-o", "photos", "--overlay"]) == 2
    assert "would replace photos/a_overlay.png" in capsys.readouterr().err
    assert (data / "photos/a_overlay.png").read_bytes() == before
    assert len(list((data / "photos").iterdir())) == 5


def test_the_palette_is_not_replaced(data, capsys):
    (data / "out.png").write_text("0 0 0 ground\n255 255 255 thing\n")
    words = ["photos/a.png", "masks/a.png", "--palette", "out.png", "-o", "out.png"]
    for command in (["refine"], ["explain", "--pixel", "1,1"]):
        assert main([*command, *words]) == 2
        assert "would replace" in capsys.readouterr().err
        assert (data / "out.png").read_text().startswith("0 0 0 ground")


@pytest.mark.parametrize(
    "words",
    [
        ("refine", "", ""),
        ("refine", "photos", ""),
        ("refine", "", "masks"),
        ("refine", "photos", "masks", "-o", ""),
        ("refine", "--yolo", "", "labels", "-o", "out"),
        ("refine", "--yolo", "photos", "labels", "-o", ""),
        ("report", ""),
        ("export", "", "--description", ""),
    ],
    ids=" ".join,
)
def test_an_empty_name_is_not_the_current_folder(data, words, capsys):
    (data / "examples").mkdir()  # as a run has it
    (data / "labels").mkdir()
    (data / "labels" / "a.txt").write_text("0 0.2 0.2 0.5 0.2 0.5 0.6\n")
    assert main(words) == 2
    assert "is a variable of the shell empty?" in capsys.readouterr().err
    assert sorted(path.name for path in data.iterdir()) == ["examples", "labels", "masks", "photos"]


def test_an_empty_description_is_none(data, capsys):
    assert main(["export", "nowhere", "--description", ""]) == 2
    assert "nowhere is not the folder of a run" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("where", ["ascii", "full", "closed"])
def test_results_whose_names_cannot_be_said_are_results(data, where):
    os.rename("masks/a.png", "masks/ä\udcff.png")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"} if where == "ascii" else None
    if where == "closed":
        reading, out = os.pipe()
        os.close(reading)
    else:
        out = os.open("/dev/full" if where == "full" else "said.txt", os.O_WRONLY | os.O_CREAT)
    words = [sys.executable, "-m", "spatialprop", "refine", "photos/a.png", "masks/ä\udcff.png"]
    done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, env=environment)
    os.close(out)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert len([name for name in os.listdir("masks") if name.endswith("_refined.png")]) == 1


@pytest.mark.parametrize("name", ["train", "evaluate"])
@pytest.mark.parametrize("start", ["command", "script"])
def test_runs_whose_folder_cannot_be_said_are_runs(name, start, monkeypatch):
    monkeypatch.setattr("spatialprop.experiment.overrides.run", lambda *_: print("outputs/now", flush=True))
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        if start == "command":
            assert main([name]) == 0
        else:
            runpy.run_path(str(REPOSITORY / f"{name}.py"), run_name="__main__")
