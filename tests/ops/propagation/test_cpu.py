"""What only the CPU backend has: lines, strips and blocks of them, and memory."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from spatialprop import propagate
from spatialprop.ops.propagation import operator
from spatialprop.ops.propagation.cpu import launch
from spatialprop.ops.propagation.cpu.lines import transpose_lines
from tests.cases import ALL_DTYPES, LAYOUTS, MERGES, random_case


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
        monkeypatch.setattr(operator, "LINES_PER_BLOCK", block)
        monkeypatch.setattr(launch, "_strips", lambda *_, strips=tuple(strips): strips)
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
        torch.ops.spatialprop.propagate_backward(out, x, gates, *kept, [0, 1, 2, 3], "mean", None, True, True)


@pytest.fixture
def allocated(monkeypatch):
    """The tensors that the backend allocates during a test."""
    tensors, empty = [], launch.empty
    monkeypatch.setattr(launch, "empty", lambda shape, dtype: tensors.append(empty(shape, dtype)) or tensors[-1])
    return tensors


def test_gradients_take_no_memory_beyond_themselves(allocated):
    x, gates = random_case(2, 4, 130, 40, dtype=torch.float32)
    x.requires_grad_(), gates.requires_grad_()
    propagate(x, gates, backend="cpu").sum().backward()
    map_bytes = x.numel() * x.itemsize
    expected = map_bytes + map_bytes // 4 + map_bytes + gates.numel() * gates.itemsize  # out, winner, gradients
    expected += 2 * (map_bytes * 3 // 130 + map_bytes // 40)  # of every scan a line for each 64 begun
    assert sum(tensor.nbytes for tensor in allocated) == expected


def test_inference_takes_no_memory_beyond_its_result(allocated):
    x, gates = random_case(1, 2, 9, 70, dtype=torch.float32)
    results = [propagate(x, gates, backend="cpu")]
    with torch.no_grad():
        results.append(propagate(x.requires_grad_(), gates.requires_grad_(), backend="cpu"))
    assert sum(tensor.nbytes for tensor in allocated) == sum(result.nbytes for result in results)


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
