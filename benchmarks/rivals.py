"""What a user could write instead of calling `spatialprop.propagate`.

The column loop in plain PyTorch with autograd (`spatialprop.ops.propagation.naive`), the same under torch.compile, and
the launch-per-column kernel of the old implementations.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spatialprop.ops import DIRECTIONS
from spatialprop.ops.propagation import naive

# Called with the name of a kernel, the number of threads, and arguments: 64-bit integers or pointers.
Launch = Callable[[str, int, list[int]], None]

KERNEL_SOURCE = Path(__file__).with_name("launch_per_column.cu")
THREADS_PER_BLOCK = 256


def column_loop(x: Tensor, gates: Tensor) -> Tensor:
    return naive.propagate(x, gates, DIRECTIONS, "max")


def compiled_column_loop() -> Callable[[Tensor, Tensor], Tensor]:
    return torch.compile(column_loop, fullgraph=True)


def launch_per_column(x: Tensor, blocks: Sequence[Tensor], launch: Launch) -> Tensor:
    """Take the maximum of four scans; gates as in the old implementations, (N, K, G, H, W) for each direction."""
    maps = [_Scan.apply(x, gates, name, launch) for gates, name in zip(blocks, DIRECTIONS, strict=True)]
    return torch.maximum(torch.maximum(maps[0], maps[1]), torch.maximum(maps[2], maps[3]))


class _Scan(torch.autograd.Function):
    """One direction: x (N, C, H, W), gates (N, K, G, H, W), both contiguous."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Tensor, direction: str, launch: Launch) -> Tensor:
        h = torch.empty_like(x)
        pointers = [tensor.data_ptr() for tensor in (x, gates, h)]
        lines = _lines(x, direction)
        for line in range(lines):
            launch("forward_line", x.numel() // lines, pointers + _geometry(x, gates, direction, line))
        ctx.save_for_backward(x, gates, h)
        ctx.direction, ctx.launch = direction, launch
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, gates, h = ctx.saved_tensors
        batch, connection, groups, height, width = gates.shape
        grad, flow, grad_x = grad.contiguous(), torch.empty_like(x), torch.empty_like(x)
        # The old kernels know no shared gates: their gradient is summed afterwards.
        grad_gates = x.new_empty(batch, connection, x.shape[1], height, width)
        pointers = [tensor.data_ptr() for tensor in (grad, x, gates, h, flow, grad_x, grad_gates)]
        lines = _lines(x, ctx.direction)
        for line in reversed(range(lines)):
            geometry = [*_geometry(x, gates, ctx.direction, line), int(line == lines - 1)]
            ctx.launch("backward_line", x.numel() // lines, pointers + geometry)
        if groups < x.shape[1]:
            grad_gates = grad_gates.unflatten(2, (groups, -1)).sum(3)
        return grad_x, grad_gates, None, None


def _lines(x: Tensor, direction: str) -> int:
    return x.shape[-1] if direction in ("right", "left") else x.shape[-2]


def _geometry(x: Tensor, gates: Tensor, direction: str, line: int) -> list[int]:
    """The kernels' arguments from `images` to `first`."""
    batch, channels, height, width = x.shape
    _, connection, groups, _, _ = gates.shape
    lines, pixels = _lines(x, direction), height * width
    across, along = (1, width) if direction in ("right", "left") else (width, 1)
    forwards = direction in ("right", "down")
    start = across * (line if forwards else lines - 1 - line)
    back = -across if forwards else across
    return [batch, channels, groups, connection, pixels, pixels // lines, along, start, back, int(line == 0)]


def gpu_launch() -> Launch:
    """Launch through CuPy, on PyTorch's current stream."""
    import cupy
    import numpy as np

    module = cupy.RawModule(code=KERNEL_SOURCE.read_text())
    kernels = {name: module.get_function(name) for name in ("forward_line", "backward_line")}

    def launch(name: str, threads: int, arguments: list[int]) -> None:
        blocks = -(-threads // THREADS_PER_BLOCK)
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            kernels[name]((blocks,), (THREADS_PER_BLOCK,), tuple(np.int64(value) for value in arguments))

    return launch
