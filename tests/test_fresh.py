"""What the tests run as scripts behaves as under an interpreter of its own."""

import subprocess
from pathlib import Path

import pytest

from tests.fresh import python


def script(folder: Path, code: str) -> str:
    path = folder / "script.py"
    path.write_text(code)
    return str(path)


def test_a_script_finds_its_arguments_folder_and_environment(tmp_path):
    code = "import os, sys; print(__name__, sys.argv[1:], os.getcwd(), os.environ['WORD']); sys.exit('no')"
    done = python(script(tmp_path, code), "a", "b", folder=tmp_path, environment={"WORD": "said"}, timeout=60)
    assert done.stdout == f"__main__ ['a', 'b'] {tmp_path} said\n"
    assert (done.returncode, done.stderr) == (1, "no\n")


def test_a_crash_is_told_from_an_error(tmp_path):
    assert python(script(tmp_path, "import os; os.abort()"), folder=tmp_path, timeout=60).returncode < 0
    failed = python(script(tmp_path, "1 / 0"), folder=tmp_path, timeout=60)
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stderr


def test_what_does_not_end_is_ended_and_says_where_it_was(tmp_path):
    waits = script(tmp_path, "import time\ndef wait():\n    time.sleep(600)\nwait()")
    with pytest.raises(subprocess.TimeoutExpired) as late:
        python(waits, folder=tmp_path, timeout=5)
    assert "in wait" in late.value.stderr
