"""Work divided between threads: as many as it is worth, all of it once."""

import subprocess
import sys

import pytest
import torch

from spatialprop.ops.machine import threads


@pytest.mark.parametrize(("nanoseconds", "parts"), [(0, 1), (2e5, 1), (4e5, 2), (1e9, 3)])
def test_threads_are_woken_only_for_what_is_worth_it(nanoseconds, parts):
    ranges = []
    count = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        threads.run_threaded(lambda first, last: ranges.append(range(first, last)), 10, nanoseconds)
    finally:
        torch.set_num_threads(count)
    assert len(ranges) == parts
    assert sorted(item for part in ranges for item in part) == list(range(10))


def test_nothing_runs_twice_where_threads_cannot_start(monkeypatch):
    # An executor queues what it is given before it starts a thread for it.
    stray = []

    class Exhausted:
        def submit(self, function):
            stray.append(function)
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_pool", lambda process: Exhausted())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    items = []
    threads.run_threaded(lambda first, last: items.extend(range(first, last)), 10, 1e9)
    for function in stray:
        function()
    assert stray
    assert sorted(items) == list(range(10))


@pytest.mark.slow
def test_works_while_the_interpreter_exits():
    code = """
import atexit, torch
from spatialprop import propagate
from spatialprop.ops.machine import threads
threads._WORTH_A_THREAD = 1
x, gates = torch.rand(1, 4, 8, 8), torch.full((1, 4, 3, 4, 8, 8), 0.2)
torch.set_num_threads(2)
expected = propagate(x, gates, backend="cpu")
atexit.register(lambda: print(torch.equal(propagate(x, gates, backend="cpu"), expected)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "True", result.stderr
