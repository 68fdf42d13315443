"""The same bits on every run, whatever the number of threads, and safety among threads and processes."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from spatialprop import propagate
from tests.cases import ALL_DTYPES, MERGES, random_case

pytestmark = [
    pytest.mark.usefixtures("several_threads"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # Python 3.12 warns of threads and fork
]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def inputs(backend, *args, **options):
    return [tensor.to(backend.device).requires_grad_() for tensor in random_case(*args, **options)]


def forward_and_backward(backend, x, gates, merge="max"):
    out = propagate(x, gates, merge=merge, backend=backend.name)
    upstream = torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, (x, gates), upstream)]


def same_bits(results, others):
    return all(map(torch.equal, results, others))


# Determinism.


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("connection", [1, 3])
@pytest.mark.parametrize("merge", MERGES)
def test_same_bits_run_after_run(backend, merge, connection, dtype):
    x, gates = inputs(backend, 2, 6, 37, 70, groups=2, connection=connection, dtype=dtype)
    first = forward_and_backward(backend, x, gates, merge)
    for _ in range(3):
        assert same_bits(forward_and_backward(backend, x, gates, merge), first)


@pytest.mark.parametrize("shape", [(1, 1, 64, 65), (2, 8, 96, 130), (1, 32, 64, 64), (5, 3, 7, 300)])
@pytest.mark.parametrize("groups", [1, None])
def test_same_bits_for_any_number_of_threads(compiled, groups, shape):
    x, gates = inputs(compiled, *shape, groups=groups, dtype=torch.float32)
    results = []
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        results.append(forward_and_backward(compiled, x, gates))
    assert all(same_bits(result, results[0]) for result in results[1:])


DIGESTS = """
import hashlib, torch
from spatialprop.ops import propagate, spread
torch.manual_seed(0)
x = torch.rand(2, 4, 24, 33, requires_grad=True)
for gates in (torch.rand(2, 4, 3, 1, 24, 33) / 3, torch.rand(2, 4, 3, 4, 24, 33) / 3):
    gates.requires_grad_()
    out = propagate(x, gates)
    results = [out, *torch.autograd.grad(out.square().sum(), (x, gates))]
    print([hashlib.sha256(result.detach().numpy().tobytes()).hexdigest() for result in results])
affinity = torch.rand(2, 8, 24, 33, requires_grad=True)
out = spread(x, affinity, (2,), steps=3)
results = [out, *torch.autograd.grad(out.square().sum(), (x, affinity))]
print([hashlib.sha256(result.detach().numpy().tobytes()).hexdigest() for result in results])
"""


@pytest.mark.slow
def test_same_bits_from_a_kernel_just_compiled_and_from_the_disk(tmp_path):
    """What a compiler joins may depend on what it compiles together: a resumed run must not feel it."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    fresh, cached = (
        subprocess.run([sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert len(fresh.stdout.splitlines()) == 3
    assert fresh.stdout == cached.stdout


# Threads.


def test_several_threads_at_once(backend):
    cases = [
        inputs(backend, 2, 4, 20 + 7 * i, 50 - 5 * i, groups=2, connection=1 + 2 * (i % 2), dtype=dtype, seed=i)
        for i, dtype in enumerate([torch.float32, torch.float64, torch.bfloat16] * 2)
    ]
    expected = [forward_and_backward(backend, *case) for case in cases]
    together = threading.Barrier(len(cases))

    def work(case):
        together.wait(timeout=60)
        return [forward_and_backward(backend, *case) for _ in range(3)]

    with ThreadPoolExecutor(len(cases)) as pool:
        for results, alone in zip(pool.map(work, cases), expected, strict=True):
            assert all(same_bits(result, alone) for result in results)


def test_number_of_threads_may_change_between_and_during_calls(compiled):
    x, gates = inputs(compiled, 2, 4, 64, 64, dtype=torch.float32)
    expected = forward_and_backward(compiled, x, gates)

    def work(count):
        torch.set_num_threads(count)
        return forward_and_backward(compiled, x, gates)

    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(work, [1, 4, 2, 3] * 5):
            assert same_bits(result, expected)


FIRST_CALLS = """
import sys, threading, torch
from spatialprop import propagate
from spatialprop.ops.machine import threads

threads._WORTH_A_THREAD = 1
torch.set_num_threads(2)
together = threading.Barrier(4)
results = [None] * 4

def work(i):
    x, gates = torch.ones(2, 2, 40, 41, requires_grad=True), torch.full((2, 4, 3, 1, 40, 41), 0.25, requires_grad=True)
    together.wait(timeout=60)
    out = propagate(x, gates, backend=sys.argv[1])
    results[i] = [out, *torch.autograd.grad(out.sum(), (x, gates))]

callers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
for caller in callers:
    caller.start()
for caller in callers:
    caller.join()
assert all(map(torch.equal, results[0] * 3, results[1] + results[2] + results[3]))
"""


@pytest.mark.slow
def test_first_calls_of_a_process_may_come_from_several_threads(backend):
    # The process must also end, whatever threads the backend started.
    if backend.device != "cpu":
        pytest.skip("starts a second CUDA context")
    subprocess.run([sys.executable, "-c", FIRST_CALLS, backend.name], check=True, timeout=300)


# Processes.


def child_ends_well(function):
    """Run a function in a forked child that touches nothing of this process; False if it failed, died or hung."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    patience = time.monotonic() + 60
    while time.monotonic() < patience:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(pid, signal.SIGABRT)  # where faulthandler is on, that says where the child hangs
    os.waitpid(pid, 0)
    return False


@needs_fork
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("merge", MERGES)
def test_after_fork(merge, groups):
    # With the backend's threads already running in the parent, none of which the child has.
    x, gates = random_case(2, 8, 64, 65, groups=groups, dtype=torch.float32)
    directions = [0, 1, 2, 3]
    upstream = torch.randn(2, 4, 8, 64, 65) if merge == "none" else torch.randn(2, 8, 64, 65)
    upstreams = (upstream, upstream.mT.contiguous().mT, upstream[..., :1].expand_as(upstream))

    def work():
        out, *kept = torch.ops.spatialprop.propagate(x, gates, directions, merge, True)
        inputs = (x, gates, *kept, directions, merge, None, True, True)
        return [out, *(g for e in upstreams for g in torch.ops.spatialprop.propagate_backward(e, *inputs))]

    expected = [result.numpy().tobytes() for result in work()]

    def child():
        # In a forked child PyTorch's own threads must not be called upon: numpy compares.
        for _ in range(2):
            assert [result.numpy().tobytes() for result in work()] == expected

    assert child_ends_well(child)
    assert child_ends_well(lambda: child() if child_ends_well(child) else os._exit(1))  # and a child's child
    child()  # the parent goes on as before


@needs_fork
@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch refuses autograd after fork where it drives a GPU")
def test_autograd_after_fork(backend):
    x, gates = inputs(backend, 2, 4, 33, 34, dtype=torch.float32)
    expected = forward_and_backward(backend, x, gates)

    def child():
        torch.set_num_threads(1)
        assert same_bits(forward_and_backward(backend, x, gates), expected)

    assert child_ends_well(child)


@needs_fork
def test_memory_that_must_not_be_written_to(tmp_path, backend):
    # A memory map opened for reading: the first write to it ends the process.
    if backend.device != "cpu":
        pytest.skip("memory maps are on the CPU")
    x, gates = random_case(1, 4, 20, 21, groups=2, dtype=torch.float32)
    upstream = torch.ones_like(x)
    maps = []
    for name, tensor in {"x": x, "gates": gates, "upstream": upstream}.items():
        np.save(tmp_path / f"{name}.npy", tensor.numpy())
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))

    def child():
        torch.set_num_threads(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns that it knows no tensors that are read-only
            read_only = [torch.from_numpy(one) for one in maps]
        leaves = [one.requires_grad_() for one in read_only[:2]]
        for merge in ("max", "mean"):
            out = propagate(*leaves, merge=merge, backend=backend.name)
            torch.autograd.grad(out, leaves, read_only[2])

    def write():
        child_writes = torch.from_numpy(np.asarray(maps[0]))
        child_writes += 1

    assert child_ends_well(child)
    assert not child_ends_well(write)  # or else this test could not fail


@pytest.mark.slow
def test_spawned_process(backend):
    if backend.device != "cpu":
        pytest.skip("starts a second CUDA context")
    x, gates = (tensor.detach() for tensor in random_case(1, 4, 33, 34, dtype=torch.float32))
    function = functools.partial(propagate, backend=backend.name)
    upstream = torch.ones_like(x)
    expected = torch.autograd.functional.vjp(function, (x, gates), upstream)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        out, grads = pool.apply(torch.autograd.functional.vjp, (function, (x, gates), upstream))
        assert same_bits([out, *grads], [expected[0], *expected[1]])


class Propagated(Dataset):
    def __init__(self, backend):
        self.backend = backend

    def __len__(self):
        return 6

    def __getitem__(self, index):
        x, gates = random_case(1, 4, 20 + index, 30, dtype=torch.float32, seed=index)
        return index, *forward_and_backward(self.backend, x.requires_grad_(), gates.requires_grad_())


@needs_fork
@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch refuses autograd after fork where it drives a GPU")
def test_data_loader_workers(backend):
    dataset = Propagated(backend)
    expected = [dataset[index][1:] for index in range(len(dataset))]
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    for _ in range(2):
        for index, *results in loader:
            assert same_bits(results, expected[index])
