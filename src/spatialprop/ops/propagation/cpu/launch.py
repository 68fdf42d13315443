"""The compiled CPU backend: hands tensors to the kernels without a copy and shares the work between threads.

Numba compiles each kernel the first time a dtype needs it and keeps the result on disk, beside the package or, where
that cannot be written to, in the user's cache folder (`NUMBA_CACHE_DIR` overrides both).
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from spatialprop.ops.contract import MERGES, state_dtype
from spatialprop.ops.machine.threads import Flat, empty, flat, share
from spatialprop.ops.propagation.cpu import kernels as cpu_kernels
from spatialprop.ops.propagation.cpu.scans import Arriving, Call, Shape

_BLOCK = 64  # lines from one that is kept for the backward pass to the next
_STRIP_BYTES = 704 * 1024  # what the buffers of one strip may take: they should stay in a core's own cache
_LARGEST_STRIP_BYTES = 8 << 20  # and what they may take so that a strip is at least a cache line wide


def kept_numbers(shape: Sequence[int], directions: Sequence[int]) -> int:
    """How many numbers `forward` keeps for `backward`: of every scan the last line of each block.

    That of the last block is of no use but one: torch.compile would make a graph of its own for sizes at which nothing
    is kept.
    """
    batch, channels, height, width = shape
    scans = [(width, height) if direction % 2 == 0 else (height, width) for direction in directions]
    return batch * channels * sum(-(-lines // _BLOCK) * length for lines, length in scans)


def forward(
    x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, height, width = x.shape
    groups = gates.shape[3]
    maps = (len(directions),) if merge == "none" else ()
    out = empty((batch, *maps, channels, height, width), x.dtype)
    winner = empty(x.shape if keep and merge == "max" else (0,), torch.uint8)
    kept = empty((kept_numbers(x.shape, directions) if keep else 0,), state_dtype(x.dtype))
    shared = channels // groups
    run = _forward_run(batch * groups, shared)
    call = _call(x, gates, directions, merge, run)
    flat_out, flat_winner, flat_kept = flat(out), flat(winner), flat(kept)

    def work(first: int, last: int) -> None:
        fold = _fold(x.dtype, flat_out, run * height * width if merge != "none" else 0)
        cpu_kernels.forward_items(call, fold, flat_out, flat_winner, flat_kept, first, last)

    share(work, batch * groups * -(-shared // run), _nanoseconds(x, gates))
    return out, winner, kept


def backward(
    grad: Tensor,
    x: Tensor,
    gates: Tensor,
    winner: Tensor,
    kept: Tensor,
    directions: Sequence[int],
    merge: str,
    need_x: bool,
    need_gates: bool,
) -> tuple[Tensor, Tensor]:
    batch, channels, height, width = x.shape
    groups = gates.shape[3]
    shared = channels // groups
    if need_gates and kept.numel() != kept_numbers(x.shape, directions):
        raise ValueError(f"backward needs what forward keeps with keep=True; got {kept.numel()} numbers of scans")
    # Channels that share gates add up their gradients. To occupy several threads even at one group they do so in a
    # few parts, and these in order: how many depends on the shape alone, so that threads never change the result.
    parts = max(1, min(4, shared // 4))
    run = -(-shared // parts)
    parts = -(-shared // run)
    grad_x = empty(x.shape if need_x else (0,), x.dtype)
    part_dtype = gates.dtype if parts == 1 else state_dtype(gates.dtype)
    grad_gates = empty((parts, *gates.shape) if need_gates else (0,), part_dtype)
    # Of (n, d, c, h, w): where directions were merged, all of them receive the same gradient.
    grad_strides = grad.stride() if merge == "none" else (grad.stride(0), 0, *grad.stride()[1:])
    arriving = Arriving(flat(grad), grad_strides, flat(winner), flat(kept))
    call = _call(x, gates, directions, merge, run)
    flat_grad_x, flat_grad_gates = flat(grad_x), flat(grad_gates)

    def work(first: int, last: int) -> None:
        fold = _fold(x.dtype, flat_grad_x, run * height * width if need_x else 0)
        cpu_kernels.backward_items(call, arriving, fold, flat_grad_x, flat_grad_gates, first, last)

    share(work, batch * groups * parts, 3 * _nanoseconds(x, gates))  # the scan, and twice as much on the way back
    if not need_gates or parts == 1:
        return grad_x, grad_gates.view(gates.shape if need_gates else (0,))
    # Not with PyTorch's own sum, whose threads do not survive a fork.
    total = empty(gates.shape, gates.dtype)
    flat_total = flat(total)
    share(
        lambda first, last: cpu_kernels.add_parts(flat_grad_gates, flat_total, first, last),
        total.numel(),
        grad_gates.numel() / 4,
    )
    return grad_x, total


def _call(x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, run: int) -> Call:
    batch, channels, height, width = x.shape
    connection, groups = gates.shape[2:4]
    return Call(
        flat(x),
        x.stride(),
        flat(gates),
        gates.stride(),
        np.array(directions),
        MERGES.index(merge),
        Shape(batch, channels, height, width, groups, connection),
        run,
        _BLOCK,
        _strips(height, width, connection, x.dtype),
    )


def _nanoseconds(x: Tensor, gates: Tensor) -> float:
    """What forward takes on one thread, at the least: a quarter for each number a pixel of a direction reads or writes.

    Four times that where numbers are halves or lie scattered.
    """
    directions, connection = gates.shape[1:3]
    simple = x.dtype == state_dtype(x.dtype) and x.stride(3) == gates.stride(5) == 1
    return x.numel() * directions * (connection + 2) * (0.25 if simple else 1)


def _fold(dtype: torch.dtype, result: Flat, scratch: int) -> Flat:
    """Where directions are joined: in the result itself if it has the state's type, else in a thread's own scratch."""
    state = state_dtype(dtype)
    return result if dtype == state else torch.empty(scratch, dtype=state).numpy()


def _forward_run(sharers: int, shared: int) -> int:
    """Channels in a work item: all that share gates, unless that leaves threads idle. Results do not depend on it."""
    wanted = -(-4 * torch.get_num_threads() // sharers)
    return -(-shared // min(shared, wanted))


@lru_cache(256)
def _strips(height: int, width: int, connection: int, dtype: torch.dtype) -> tuple[int, int]:
    """Lines to bring into cache at once, where lines are columns and where they are rows: parts of a block."""

    def lines(length: int) -> int:
        line = (length + 32) * state_dtype(dtype).itemsize * (connection + 2)
        wanted = max(_STRIP_BYTES // line, min(16, _LARGEST_STRIP_BYTES // line), 1)
        return 1 << min(_BLOCK, wanted).bit_length() - 1

    return min(lines(height), width), min(lines(width), height)
