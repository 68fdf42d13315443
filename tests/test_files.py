"""Files appear whole or not at all."""

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from spatialprop.files import write_beside, write_file, write_json


def test_takes_the_place_of_the_file_at_the_end(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with write_beside(path) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [None, b"before"])
def test_nothing_half_written_is_left(tmp_path, error, before):
    path = tmp_path / "a.bin"
    if before:
        path.write_bytes(before)

    def fail():
        with write_beside(path) as file:
            file.write(b"half")
            file.flush()
            raise error

    with pytest.raises(error):
        fail()
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [before] * bool(before)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no files without a name")
def test_nothing_is_left_of_a_process_that_was_killed(tmp_path):
    program = f"""
import os, signal
from pathlib import Path
from spatialprop.files import write_beside
with write_beside(Path({str(tmp_path / "a.bin")!r})) as file:
    file.write(bytes(1 << 20))
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["O_TMPFILE", "/proc"])
def test_systems_without_nameless_files_write_whole_ones_too(tmp_path, monkeypatch, missing):
    if missing == "O_TMPFILE":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    else:
        monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert write_file(tmp_path / "a", "1").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_others_may_read_it_as_they_may_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with write_beside(tmp_path / "a.bin") as file:
            file.write(b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_many_writers_of_one_file_leave_the_whole_work_of_one(tmp_path):
    path = tmp_path / "a.bin"

    def write(writer):
        with write_beside(path) as file:
            for _ in range(50):
                file.write(bytes([writer]) * 1000)
                file.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(32)))
    content = path.read_bytes()
    assert content == content[:1] * 50_000
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError), write_beside(tmp_path / "none" / "a.bin"):
        pass


def test_a_name_may_be_as_long_as_the_system_allows_and_errors_give_it(tmp_path):
    with write_beside(tmp_path / ("a" * 255)) as file:
        file.write(b"1")
    missing = tmp_path / "nowhere" / "a.bin"
    with pytest.raises(FileNotFoundError) as error, write_beside(missing):
        pass
    assert error.value.filename == str(missing)


def test_a_file_and_its_folder_are_written_at_once(tmp_path):
    path = write_file(tmp_path / "new" / "a.txt", "ä")
    assert path.read_text(encoding="utf-8") == "ä"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]
    assert write_file(path, b"1").read_bytes() == b"1"


def test_packed_json_means_the_same_in_fewer_lines(tmp_path):
    value = {
        "numbers": [index / 3 for index in range(100)],
        "nested": [{"name": "ä\n" * 20, "more": {"a": None, "b": [[1, 2], []]}} for _ in range(3)],
        1: {},
        "empty": [],
        "not a number": float("inf"),
    }
    path = write_json(tmp_path / "a.json", value)
    assert json.loads(path.read_text()) == json.loads(json.dumps(value))
    assert len(path.read_text().splitlines()) == 20
