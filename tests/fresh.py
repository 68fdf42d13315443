"""Scripts in processes of their own that need not import anew what takes seconds, as an interpreter's start would.

They are forked from a process that has imported it and done nothing else: no thread, no state, no seed is inherited.
"""

import faulthandler
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parents[1]
# One thread each: several such processes share a machine with few cores.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONFAULTHANDLER": "1"}

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["spatialprop.experiment.evaluation", "spatialprop.experiment.training"])


def python(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """What `python SCRIPT ...` or `python -m MODULE ...` does in `folder`, and what it says.

    One that takes longer than `timeout` seconds is ended, and says last where it was.
    """
    with tempfile.TemporaryDirectory() as said:
        out, err = Path(said, "out"), Path(said, "err")
        everything = {**os.environ, **ENVIRONMENT, **(environment or {})}
        process = _SERVER.Process(target=_work, args=(arguments, folder, everything, out, err))
        # What the server is started with, the first time, holds for what it imports.
        with patch.dict(os.environ, ENVIRONMENT), patch.object(sys, "path", [str(ROOT), *sys.path]):
            process.start()
        process.join(timeout)
        if late := process.is_alive():
            os.killpg(process.pid, signal.SIGABRT)
            process.join()
        output, errors = (path.read_text(errors="replace") if path.exists() else "" for path in (out, err))
    if late:
        raise subprocess.TimeoutExpired(arguments, timeout, output, errors)
    return subprocess.CompletedProcess(arguments, process.exitcode, output, errors)


def _work(arguments: tuple[str, ...], folder: Path, environment: Mapping[str, str], out: Path, err: Path) -> None:
    os.setpgid(0, 0)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    faulthandler.enable()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")
