"""The CUDA backend: plans the launches of propagate.cu.

Planning needs no GPU: `plan_forward` and `plan_backward` allocate memory and list the launches. The tests run the same
plans on a CPU.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spatialprop.ops.contract import MERGES, state_dtype
from spatialprop.ops.machine.cuda_launch import Gpu, Launch, gpu_of, launch_all, type_options
from spatialprop.ops.normalization import MODES, shrinkage

SOURCE = "propagation/propagate.cu"
MAX_THREADS = 512  # of a block, as in propagate.cu
_PIXEL_THREADS = 256  # of a block of the kernels that give every pixel a thread
_SUM = len(MERGES)  # how gradients of x are merged; other merges have their index in MERGES

# `struct Call` of propagate.cu: eight bytes each, in this order.
_CALL = np.dtype(
    [(name, np.uint64) for name in ("x", "gates", "grad", "winner", "out", "maps", "h", "dh", "grad_gates", "edges")]
    + [("edges_per_block", np.int64)]
    + [("x_strides", np.int64, 4), ("gate_strides", np.int64, 6), ("grad_strides", np.int64, 5)]
    + [(name, np.int64) for name in ("batch", "channels", "groups", "height", "width", "directions")]
    + [("direction", np.int64, 4), ("merge", np.int64), ("fused", np.int64)]
    + [("log2_band", np.int64, 2), ("log2_chunk", np.int64, 2)]
)


class Plan(NamedTuple):
    launches: list[Launch]
    results: tuple[Tensor, Tensor]
    scratch: list[Tensor]  # alive until the launches are made; from then on the stream's order protects it


class Tiles(NamedTuple):
    """How horizontal and vertical scans are cut into tiles, and what that needs."""

    log2_band: tuple[int, int]
    log2_chunk: tuple[int, int]
    threads: int
    shared: int  # bytes
    edges_per_block: int  # elements of the state's type


def forward(
    x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep: bool, normalize: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    plan = plan_forward(x, gates, directions, merge, keep and merge == "max", gpu_of(x.device.index))
    out, winner = _run(plan, x, gates, normalize)
    return out, winner, x.new_empty((0,), dtype=state_dtype(x.dtype))


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
    gpu = gpu_of(x.device.index)
    winner = winner.contiguous()  # torch.vmap expands it
    plan = plan_backward(grad, x, gates, winner, directions, merge, need_x, need_gates, gpu)
    return _run(plan, x, gates, normalize)


def plan_forward(x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep_winner: bool, gpu: Gpu) -> Plan:
    maps_shape = (x.shape[0], len(directions), *x.shape[1:])
    out = x.new_empty(maps_shape if merge == "none" else x.shape)
    winner = x.new_empty(x.shape if keep_winner else (0,), dtype=torch.uint8)
    fused = merge != "none" and fuses_directions(x, len(directions), gpu)
    maps = None if merge == "none" else _maps(out, maps_shape, fused)
    tiles = plan_tiles(x, gates, fused, False, gpu)
    edges = _edges(x, gates, tiles, fused)
    call = _call(
        x, gates, directions, MERGES.index(merge), fused, tiles, winner=winner, out=out, maps=maps, edges=edges
    )
    launches = [_walk("propagate_forward", call, tiles)]
    if merge != "none" and not fused:
        launches.append(_per_pixel("merge_maps", call, x.numel()))
    return Plan(launches, (out, winner), _not_none(maps, edges))


def plan_backward(
    grad: Tensor,
    x: Tensor,
    gates: Tensor,
    winner: Tensor,
    directions: Sequence[int],
    merge: str,
    need_x: bool,
    need_gates: bool,
    gpu: Gpu,
) -> Plan:
    maps_shape = (x.shape[0], len(directions), *x.shape[1:])
    state = state_dtype(x.dtype)
    grad_x = x.new_empty(x.shape if need_x else (0,))
    grad_gates = gates.new_empty(gates.shape if need_gates else (0,))
    # Where channels share gates, their gradients are summed at the end from h and dh of every direction.
    shared = need_gates and gates.shape[3] != x.shape[1]
    fused = not shared and fuses_directions(x, len(directions), gpu)
    maps = _maps(grad_x, maps_shape, fused) if need_x else None
    h = x.new_empty(x.shape if fused else maps_shape, dtype=state) if need_gates else None
    dh = x.new_empty(maps_shape, dtype=state) if shared else None
    tiles = plan_tiles(x, gates, fused, True, gpu)
    edges = _edges(x, gates, tiles, fused)
    buffers = {"grad": grad, "winner": winner, "out": grad_x, "maps": maps, "h": h, "dh": dh, "edges": edges}
    call = _call(x, gates, directions, MERGES.index(merge), fused, tiles, **buffers)
    # For (n, d, c, h, w): where directions were merged, all of them get the same gradient.
    call["grad_strides"] = grad.stride() if merge == "none" else (grad.stride(0), 0, *grad.stride()[1:])
    walk, join, add = call, call.copy(), call.copy()
    walk["grad_gates"] = 0 if shared else grad_gates.data_ptr()
    join["merge"], join["winner"] = _SUM, 0
    add["grad_gates"] = grad_gates.data_ptr()
    launches = [_walk("propagate_backward", walk, tiles)]
    if need_x and not fused:
        launches.append(_per_pixel("merge_maps", join, x.numel()))
    if shared:
        launches.append(_per_pixel("sum_over_channels", add, gates.numel() // gates.shape[2]))
    return Plan(launches, (grad_x, grad_gates), _not_none(maps, h, dh, edges))


def fuses_directions(x: Tensor, directions: int, gpu: Gpu) -> bool:
    """Whether a block takes all directions of a plane in turn, not one.

    That moves fewer bytes. It pays if the planes keep at least three quarters of the GPU busy.
    """
    planes = x.shape[0] * x.shape[1]
    rounds = -(-planes // gpu.multiprocessors)
    return directions == 1 or 4 * planes >= 3 * rounds * gpu.multiprocessors


def plan_tiles(x: Tensor, gates: Tensor, fused: bool, backward: bool, gpu: Gpu) -> Tiles:
    """Return the largest tiles that fit."""
    batch, channels, height, width = x.shape
    directions, connection = gates.shape[1:3]
    # A block alone on its multiprocessor gets all of it. Otherwise two share it, so that one computes while the other
    # waits. The system takes a kilobyte for each block.
    sharing = 1 if batch * channels * (1 if fused else directions) <= gpu.multiprocessors else 2
    max_threads = MAX_THREADS // sharing
    limit = min(gpu.shared_per_block, gpu.shared_per_multiprocessor // sharing - 1024)
    itemsize = state_dtype(x.dtype).itemsize

    tiles, edges = [], 0
    # Lines that are columns are cut so that a tile spans 128 bytes of every row.
    for lines, length, chunk in ((width, height, 128 // x.element_size()), (height, width, 16)):
        band = min(_power_of_two(length), max_threads)
        chunk = min(_power_of_two(lines), chunk)
        while _tile_bytes(connection, band, chunk, itemsize) > limit:
            band, chunk = (band // 2, chunk) if band > 32 or chunk == 1 else (band, chunk // 2)
        while chunk < min(lines, max_threads // 2) and _tile_bytes(connection, band, 2 * chunk, itemsize) <= limit:
            chunk *= 2
        tiles.append((band, chunk))
        if connection == 3 and length > band:  # what a band passes to the next one, for two bands at a time
            edges = max(edges, 2 * lines * (connection if backward else 1) * 2)
    # At least one thread for each pixel of a line, and two for each line to move the edges of leaning bands.
    threads = max(max(band, 2 * chunk, band * chunk // 8) for band, chunk in tiles)
    return Tiles(
        log2_band=(tiles[0][0].bit_length() - 1, tiles[1][0].bit_length() - 1),
        log2_chunk=(tiles[0][1].bit_length() - 1, tiles[1][1].bit_length() - 1),
        threads=min(max(threads, 32), max_threads),
        shared=max(_tile_bytes(connection, band, chunk, itemsize) for band, chunk in tiles),
        edges_per_block=edges,
    )


def _power_of_two(number: int) -> int:
    """Return the smallest power of two that is at least `number`."""
    return 1 << (number - 1).bit_length()


def _tile_bytes(connection: int, band: int, chunk: int, itemsize: int) -> int:
    return (connection + 1) * (chunk + 1) * (band + 4) * itemsize


def _maps(result: Tensor, maps_shape: tuple[int, ...], fused: bool) -> Tensor:
    """Return where directions are merged: in the result if it has the state's type, else in scratch."""
    state = state_dtype(result.dtype)
    if fused and result.dtype == state:
        return result
    return result.new_empty(result.shape if fused else maps_shape, dtype=state)


def _edges(x: Tensor, gates: Tensor, tiles: Tiles, fused: bool) -> Tensor:
    blocks = x.shape[0] * x.shape[1] * (1 if fused else gates.shape[1])
    return x.new_empty(tiles.edges_per_block * blocks, dtype=state_dtype(x.dtype))


def _not_none(*tensors: Tensor | None) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor is not None]


def _call(
    x: Tensor, gates: Tensor, directions: Sequence[int], merge: int, fused: bool, tiles: Tiles, **buffers: Tensor | None
) -> npt.NDArray[Any]:
    call = np.zeros(1, _CALL)
    for name, tensor in {"x": x, "gates": gates, **buffers}.items():
        call[name] = tensor.data_ptr() if tensor is not None and tensor.numel() else 0
    call["edges_per_block"] = tiles.edges_per_block
    call["x_strides"], call["gate_strides"] = x.stride(), gates.stride()
    call["batch"], call["channels"], call["height"], call["width"] = x.shape
    call["groups"], call["directions"] = gates.shape[3], len(directions)
    call["direction"][0, : len(directions)] = directions
    call["merge"], call["fused"] = merge, fused
    call["log2_band"], call["log2_chunk"] = tiles.log2_band, tiles.log2_chunk
    return call


def _walk(kernel: str, call: npt.NDArray[Any], tiles: Tiles) -> Launch:
    directions = 1 if call["fused"][0] else int(call["directions"][0])
    return Launch(kernel, (int(call["batch"][0] * call["channels"][0]), directions), tiles.threads, tiles.shared, call)


def _per_pixel(kernel: str, call: npt.NDArray[Any], pixels: int) -> Launch:
    return Launch(kernel, (-(-pixels // _PIXEL_THREADS), 1), _PIXEL_THREADS, 0, call)


def compile_options(dtype: torch.dtype, connection: int, wide: bool, normalize: str | None = None) -> tuple[str, ...]:
    """Definitions that make propagate.cu a kernel for these types; `wide` makes offsets in a plane 64 bits wide."""
    index = "long long" if wide else "unsigned"
    mode = -1 if normalize is None else MODES.index(normalize)
    normalization = (f"-DNORMALIZE={mode}", f"-DSHRINK={shrinkage(dtype)!r}")
    return (*type_options(dtype), f"-DCONNECTION={connection}", f"-DINDEX={index}", *normalization)


def needs_wide_index(x: Tensor, gates: Tensor, call: npt.NDArray[Any]) -> bool:
    """Whether an offset within one plane of any tensor exceeds 32 bits."""
    channels, height, width = x.shape[1:]
    connection = gates.shape[2]

    def span(row: int, column: int) -> int:
        return (height - 1) * row + (width - 1) * column

    spans = (
        span(*x.stride()[-2:]),
        span(*gates.stride()[-2:]) + (connection - 1) * gates.stride(2),
        span(*call["grad_strides"][0, -2:].tolist()),
        connection * channels * height * width,  # the contiguous gradient of gates
    )
    return max(spans) >= 2**31


def _run(plan: Plan, x: Tensor, gates: Tensor, normalize: str | None) -> tuple[Tensor, Tensor]:
    wide = needs_wide_index(x, gates, plan.launches[0].call)
    launch_all(plan.launches, SOURCE, compile_options(x.dtype, gates.shape[2], wide, normalize), x.device.index)
    return plan.results
