"""What only the CPU kernels have: halves by hand, strips of lines, compiled code kept on disk."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit

import spatialprop
from spatialprop import propagate
from spatialprop.ops.machine import threads as cpu_work
from spatialprop.ops.machine.halves import narrow, widen
from spatialprop.ops.propagation.cpu import launch as cpu
from spatialprop.ops.propagation.cpu.lines import transpose_lines
from tests.cases import ALL_DTYPES, LAYOUTS, MERGES, random_case

CODES = {torch.bfloat16: torch.int16, torch.float16: torch.uint16}


@njit
def widen_all(codes, values):
    for i in range(codes.size):
        values[i] = widen(codes[i])


@njit
def narrow_all(values, codes):
    for i in range(values.size):
        codes[i] = narrow(values[i], codes)


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_every_half_widens_as_in_torch(dtype):
    halves = torch.arange(65536).to(torch.int16).view(dtype)
    values = np.empty(65536, np.float32)
    widen_all(halves.view(CODES[dtype]).numpy(), values)
    torch.testing.assert_close(torch.from_numpy(values), halves.float(), rtol=0, atol=0, equal_nan=True)
    signs = torch.signbit(torch.from_numpy(values)) == torch.signbit(halves.float())
    assert (signs | halves.isnan()).all()


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_numbers_narrow_as_in_torch(dtype):
    generator = torch.Generator().manual_seed(0)
    any_bits = torch.randint(-(2**31), 2**31, (500_000,), generator=generator).to(torch.int32).view(torch.float32)
    halves = torch.arange(65536).to(torch.int16).view(dtype).float()
    up = torch.nextafter(halves, torch.tensor(torch.inf))
    middles = (halves[:-1] + halves[1:]) / 2  # ties, subnormal ones and the one beyond the largest too
    values = torch.cat([any_bits, halves, up, middles, torch.nextafter(middles, torch.tensor(0.0))])
    codes = torch.empty(values.numel(), dtype=CODES[dtype])
    narrow_all(values.numpy(), codes.numpy())
    torch.testing.assert_close(codes.view(dtype), values.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (7, 9), (8, 8), (16, 24), (19, 43)])
def test_lines_are_transposed(rows, columns, step, dtype):
    image = np.arange(rows * 50, dtype=dtype)
    turned = np.full(columns * 30, -1, dtype)
    first = 3 if step == 1 else 3 + columns - 1
    transpose_lines(image, first, 50, step, turned, 2, 30, rows, columns, True)
    expected = np.full((columns, 30), -1, dtype)
    expected[:, 2 : 2 + rows] = image.reshape(rows, 50)[:, 3 : 3 + columns].T[::step]
    np.testing.assert_array_equal(turned.reshape(columns, 30), expected)


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("groups", [5, 1])
@pytest.mark.parametrize("merge", MERGES)
def test_blocks_and_strips_change_nothing(merge, groups, dtype, monkeypatch):
    x, gates = (tensor.requires_grad_() for tensor in random_case(1, 5, 21, 38, groups=groups, dtype=dtype))

    def run():
        out = propagate(x, gates, merge=merge, backend="cpu")
        return [out, *torch.autograd.grad(out, (x, gates), torch.ones_like(out))]

    whole = run()
    for block, *strips in [(64, 16, 16), (16, 2, 16), (7, 7, 1), (1, 1, 1)]:
        monkeypatch.setattr(cpu, "_BLOCK", block)
        monkeypatch.setattr(cpu, "_strips", lambda *_, strips=tuple(strips): strips)
        assert all(map(torch.equal, run(), whole))


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
@pytest.mark.parametrize("groups", [4, 1])
@pytest.mark.parametrize("merge", MERGES)
def test_strides_of_the_upstream_gradient_change_nothing(merge, groups, dtype):
    x, gates = (tensor.requires_grad_() for tensor in random_case(2, 4, 70, 19, groups=groups, dtype=dtype))
    out = propagate(x, gates, merge=merge, backend="cpu")
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    for lay_out in [*LAYOUTS.values(), lambda tensor: tensor.flatten()[0].expand_as(tensor)]:
        ways = lay_out(upstream), lay_out(upstream).contiguous()
        results = [torch.autograd.grad(out, (x, gates), way, retain_graph=True) for way in ways]
        assert all(map(torch.equal, *results))


@pytest.mark.parametrize("spoilt", [..., (..., -3, slice(-4, None)), (..., slice(-4, None), -3)], ids=str)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 40), (40, 20), (66, 70), (70, 66)])
def test_infinities_stay_where_they_belong(height, width, spoilt):
    # Nothing of one channel may be left where a thread's next one looks, nor beyond the end of shorter lines or of the
    # line before a block, where a gate of zero would meet it.
    x, gates = random_case(1, 2, height, width, groups=1)
    x[:, 0][spoilt] = torch.inf
    upstream = torch.ones(1, 4, 2, height, width, dtype=torch.float64)
    results = []
    for backend in ("cpu", "naive"):
        leaves = x.clone().requires_grad_(), gates.clone().requires_grad_()
        out = propagate(*leaves, merge="none", backend=backend)
        results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, equal_nan=True)
    assert results[0][0][:, :, 1].isfinite().all()


def test_what_backward_needs_must_have_been_kept():
    x, gates = random_case(1, 2, 5, 70)
    out, *kept = torch.ops.spatialprop.propagate(x, gates, [0, 1, 2, 3], "mean", False)
    with pytest.raises(ValueError, match="keep=True"):
        torch.ops.spatialprop.propagate_backward(out, x, gates, *kept, [0, 1, 2, 3], "mean", True, True)


def test_gradients_take_no_memory_beyond_themselves(monkeypatch):
    allocated = []
    empty = cpu.empty
    monkeypatch.setattr(cpu, "empty", lambda shape, dtype: allocated.append(empty(shape, dtype)) or allocated[-1])
    x, gates = random_case(2, 4, 130, 40, dtype=torch.float32)
    x.requires_grad_(), gates.requires_grad_()
    propagate(x, gates, backend="cpu").sum().backward()
    map_bytes = x.numel() * x.itemsize
    expected = map_bytes + map_bytes // 4 + map_bytes + gates.numel() * gates.itemsize  # out, winner, gradients
    expected += 2 * (map_bytes * 3 // 130 + map_bytes // 40)  # of every scan a line for each 64 begun
    assert sum(tensor.numel() * tensor.itemsize for tensor in allocated) == expected


def run_in_copy(folder: Path, **environment: str) -> str:
    """Propagate a ramp with a copy of the package, in a process of its own."""
    code = """
import torch, spatialprop
from spatialprop.ops.machine.vectors import JIT
x = torch.arange(6.0).view(1, 1, 2, 3)
out = spatialprop.propagate(x, torch.full((1, 4, 3, 1, 2, 3), 0.2), backend="cpu")
print(JIT["cache"], spatialprop.__file__.startswith(FOLDER), round(out.sum().item(), 4))
"""
    shutil.copytree(
        Path(spatialprop.__file__).parent, folder / "spatialprop", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = [sys.executable, "-c", f"FOLDER = {str(folder)!r}\n{code}"]
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_kernels_are_kept_on_disk(tmp_path):
    caches, total = run_in_copy(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")).split(" True ")
    assert caches == "True"
    assert list((tmp_path / "cache").rglob("*forward_items*.nbc"))
    expected = propagate(torch.arange(6.0).view(1, 1, 2, 3), torch.full((1, 4, 3, 1, 2, 3), 0.2), backend="naive")
    assert float(total) == pytest.approx(expected.sum().item(), abs=1e-3)


def test_an_install_without_any_place_for_a_cache_still_works(tmp_path):
    # A locator that serves notebooks only finds no place for a package: as where nothing can be written.
    output = run_in_copy(tmp_path, NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator", NUMBA_CACHE_DIR="")
    assert output.startswith("False True ")


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux reports it")
@pytest.mark.parametrize("size", [(3, 30_000), (30_000, 3), (1, 200_000)])
def test_long_maps_need_memory_for_their_pixels_only(size):
    # Scratch that grew with the square of the longer side would take 3.6 GB and more here.
    x = torch.rand(1, 1, *size, requires_grad=True)
    gates = torch.full((1, 4, 3, 1, 1, 1), 0.2).expand(1, 4, 3, 1, *size).requires_grad_()
    resource.setrlimit(resource.RLIMIT_AS, (memory_in_use() + (2 << 30), -1))
    try:
        propagate(x, gates, backend="cpu").sum().backward()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    assert x.grad.isfinite().all()


def memory_in_use() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@pytest.mark.parametrize(("nanoseconds", "parts"), [(0, 1), (2e5, 1), (4e5, 2), (1e9, 3)])
def test_threads_are_woken_only_for_what_is_worth_it(nanoseconds, parts):
    ranges = []
    count = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        cpu_work.share(lambda first, last: ranges.append(range(first, last)), 10, nanoseconds)
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

    monkeypatch.setattr(cpu_work, "_pool", lambda process: Exhausted())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    items = []
    cpu_work.share(lambda first, last: items.extend(range(first, last)), 10, 1e9)
    for function in stray:
        function()
    assert stray
    assert sorted(items) == list(range(10))


def test_works_while_the_interpreter_exits():
    code = """
import atexit, torch
from spatialprop import propagate
from spatialprop.ops.machine import threads as cpu_work
cpu_work._WORTH_A_THREAD = 1
x, gates = torch.rand(1, 4, 8, 8), torch.full((1, 4, 3, 4, 8, 8), 0.2)
torch.set_num_threads(2)
expected = propagate(x, gates, backend="cpu")
atexit.register(lambda: print(torch.equal(propagate(x, gates, backend="cpu"), expected)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "True", result.stderr
