"""The compiled CPU backend: passes tensors to the kernels without a copy and divides the work between threads."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from spatialprop.ops.contract import MERGES, state_dtype
from spatialprop.ops.machine.threads import Flat, empty, flat, run_threaded
from spatialprop.ops.propagation import operator
from spatialprop.ops.propagation.cpu import kernels
from spatialprop.ops.propagation.cpu.normalization import rule_of
from spatialprop.ops.propagation.cpu.scans import Call, Shape, Upstream

_STRIP_BYTES = 704 * 1024  # the buffers of one strip should stay in a core's own cache
_LARGEST_STRIP_BYTES = 8 << 20  # but may take this much to make a strip as wide as a cache line


def forward(
    x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep: bool, normalize: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, height, width = x.shape
    groups = gates.shape[3]
    maps = (len(directions),) if merge == "none" else ()
    out = empty((batch, *maps, channels, height, width), x.dtype)
    winner = empty(x.shape if keep and merge == "max" else (0,), torch.uint8)
    kept = empty((operator.count_kept(x.shape, directions) if keep else 0,), state_dtype(x.dtype))
    shared = channels // groups
    run = _forward_run(batch * groups, shared)
    call = _call(x, gates, directions, merge, normalize, run)
    flat_out, flat_winner, flat_kept = flat(out), flat(winner), flat(kept)

    def work(first: int, last: int) -> None:
        merged = _merged_planes(x.dtype, flat_out, run * height * width if merge != "none" else 0)
        kernels.forward_items(call, merged, flat_out, flat_winner, flat_kept, first, last)

    run_threaded(work, batch * groups * -(-shared // run), _nanoseconds(x, gates))
    return out, winner, kept


def backward(
    grad: Tensor,
    x: Tensor,
    gates: Tensor,
    winner: Tensor,
    kept: Tensor,
    directions: Sequence[int],
    merge: str,
    normalize: str | None,
    need_x: bool,
    need_gates: bool,
) -> tuple[Tensor, Tensor]:
    batch, channels, height, width = x.shape
    groups = gates.shape[3]
    shared = channels // groups
    if need_gates and kept.numel() != operator.count_kept(x.shape, directions):
        raise ValueError(f"backward needs what forward keeps with keep=True; got {kept.numel()} numbers of scans")
    # Channels that share gates sum their gradients. They do so in a few parts, to occupy several threads even with one
    # group, and the number of parts depends on the shape alone, so that the result does not depend on threads.
    parts = max(1, min(4, shared // 4))
    run = -(-shared // parts)
    parts = -(-shared // run)
    grad_x = empty(x.shape if need_x else (0,), x.dtype)
    part_dtype = gates.dtype if parts == 1 else state_dtype(gates.dtype)
    grad_gates = empty((parts, *gates.shape) if need_gates else (0,), part_dtype)
    # For (n, d, c, h, w): where directions were merged, all of them get the same gradient.
    grad_strides = grad.stride() if merge == "none" else (grad.stride(0), 0, *grad.stride()[1:])
    upstream = Upstream(flat(grad), grad_strides, flat(winner.contiguous()), flat(kept.contiguous()))
    call = _call(x, gates, directions, merge, normalize, run)
    flat_grad_x, flat_grad_gates = flat(grad_x), flat(grad_gates)

    def work(first: int, last: int) -> None:
        merged = _merged_planes(x.dtype, flat_grad_x, run * height * width if need_x else 0)
        kernels.backward_items(call, upstream, merged, flat_grad_x, flat_grad_gates, first, last)

    run_threaded(work, batch * groups * parts, 3 * _nanoseconds(x, gates))  # the scan again, then twice as long back
    if not need_gates or parts == 1:
        return grad_x, grad_gates.view(gates.shape if need_gates else (0,))
    # Not by PyTorch's sum: its threads do not survive a fork.
    total = empty(gates.shape, gates.dtype)
    flat_total = flat(total)
    run_threaded(
        lambda first, last: kernels.add_parts(flat_grad_gates, flat_total, first, last),
        total.numel(),
        grad_gates.numel() / 4,
    )
    return grad_x, total


def _call(x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, normalize: str | None, run: int) -> Call:
    batch, channels, height, width = x.shape
    connection, groups = gates.shape[2:4]
    return Call(
        flat(x),
        x.stride(),
        flat(gates),
        gates.stride(),
        rule_of(normalize, x.dtype),
        np.array(directions),
        MERGES.index(merge),
        Shape(batch, channels, height, width, groups, connection),
        run,
        operator.LINES_PER_BLOCK,
        _strips(height, width, connection, x.dtype),
    )


def _nanoseconds(x: Tensor, gates: Tensor) -> float:
    """Estimate the time of the forward pass on one thread: 0.25 ns for each number that is read or written.

    It is four times that for half precision and for numbers that are not next to each other.
    """
    directions, connection = gates.shape[1:3]
    simple = x.dtype == state_dtype(x.dtype) and x.stride(3) == gates.stride(5) == 1
    return x.numel() * directions * (connection + 2) * (0.25 if simple else 1)


def _merged_planes(dtype: torch.dtype, result: Flat, scratch: int) -> Flat:
    """Return where directions are merged: in the result if it has the state's type, else in scratch of the thread."""
    state = state_dtype(dtype)
    return result if dtype == state else torch.empty(scratch, dtype=state).numpy()


def _forward_run(sharers: int, shared: int) -> int:
    """Return the channels of a work item: all that share gates, unless that leaves threads idle."""
    wanted = -(-4 * torch.get_num_threads() // sharers)
    return -(-shared // min(shared, wanted))


@lru_cache(256)
def _strips(height: int, width: int, connection: int, dtype: torch.dtype) -> tuple[int, int]:
    """Return the lines of a strip, which is part of a block: if lines are columns, and if they are rows."""

    def lines(length: int) -> int:
        line = (length + 32) * state_dtype(dtype).itemsize * (connection + 2)
        wanted = max(_STRIP_BYTES // line, min(16, _LARGEST_STRIP_BYTES // line), 1)
        return 1 << min(operator.LINES_PER_BLOCK, wanted).bit_length() - 1

    return min(lines(height), width), min(lines(width), height)
