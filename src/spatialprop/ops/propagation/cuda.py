"""The CUDA backend: plans the launches of propagate.cu.

Planning needs no GPU: `plan_forward` and `plan_backward` list what is to be allocated and launched, from shapes,
strides and types alone, and keep it for the next call like it. The tests carry out the same plans on a CPU.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spatialprop.ops.contract import MERGES, state_dtype
from spatialprop.ops.machine.cuda_launch import (
    Buffer,
    Gpu,
    Launch,
    Layout,
    Plan,
    call_type,
    gpu_of,
    layout_of,
    type_options,
)
from spatialprop.ops.normalization import MODES, shrinkage

SOURCE = "propagation/propagate.cu"
_THREADS = 128  # of a block, unless it is alone on its multiprocessor
MAX_THREADS = 256  # as in propagate.cu
_LONGEST_BAND = 256  # pixels: lines of up to so many have no bands that lean
_PIXEL_THREADS = 256  # of a block of the kernels that give every pixel a thread
_SUM = len(MERGES)  # how gradients of x are merged; other merges have their index in MERGES

# `struct Call` of propagate.cu: eight bytes each, in this order.
_POINTERS = ("x", "gates", "grad", "winner", "out", "maps", "h", "dh", "grad_gates", "edges", "progress")
_CALL = call_type(
    _POINTERS,
    ("edges_per_walk", np.int64),
    ("x_strides", np.int64, 4),
    ("gate_strides", np.int64, 6),
    ("grad_strides", np.int64, 5),
    *((name, np.int64) for name in ("batch", "channels", "groups", "height", "width", "directions")),
    ("direction", np.int64, 4),
    *((name, np.int64) for name in ("merge", "fused", "bands")),
    ("log2_band", np.int64, 2),
    ("log2_chunk", np.int64, 2),
)


class Tiles(NamedTuple):
    """How horizontal and vertical scans are cut into tiles, and what that needs."""

    log2_band: tuple[int, int]
    log2_chunk: tuple[int, int]
    bands: tuple[int, int]
    leans: bool  # whether bands of any scan depend on each other
    threads: int
    shared: int  # bytes


def forward(
    x: Tensor, gates: Tensor, directions: Sequence[int], merge: str, keep: bool, normalize: str | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    keep_winner = keep and merge == "max"
    gpu = gpu_of(x.device.index)
    plan = plan_forward(layout_of(x), layout_of(gates), tuple(directions), merge, keep_winner, normalize, gpu)
    out, winner = plan.run(x.device.index, x, gates)
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
    if not winner.is_contiguous() or winner.data_ptr() % 16:  # torch.vmap expands it
        winner = winner.clone(memory_format=torch.contiguous_format)
    layouts = (layout_of(grad), layout_of(x), layout_of(gates))
    gpu = gpu_of(x.device.index)
    plan = plan_backward(*layouts, tuple(directions), merge, normalize, need_x, need_gates, gpu)
    grad_x, grad_gates = plan.run(x.device.index, grad, x, gates, winner)
    return grad_x, grad_gates


@lru_cache(1024)
def plan_forward(
    x: Layout,
    gates: Layout,
    directions: tuple[int, ...],
    merge: str,
    keep_winner: bool,
    normalize: str | None,
    gpu: Gpu,
) -> Plan:
    scan = _Scan(x, gates, directions, merge, normalize, gpu, (x, gates), backward=False)
    merges = merge != "none"
    scan.buffers += [
        Buffer("out", x.shape if merges else scan.maps_shape, x.dtype),
        # Without a second direction nobody writes it: the first one wins everywhere.
        Buffer("winner", x.shape if keep_winner else (0,), torch.uint8, zeroed=len(directions) == 1),
    ]
    maps = scan.maps_for("out") if merges else None
    pointers = {"x": "x", "gates": "gates", "out": "out", "maps": maps, "winner": "winner"}
    scan.walk("propagate_forward", pointers)
    if merges and scan.joins:
        scan.join(pointers, scan.merge)
    return scan.plan(("x", "gates"), ("out", "winner"))


@lru_cache(1024)
def plan_backward(
    grad: Layout,
    x: Layout,
    gates: Layout,
    directions: tuple[int, ...],
    merge: str,
    normalize: str | None,
    need_x: bool,
    need_gates: bool,
    gpu: Gpu,
) -> Plan:
    # Where channels share gates, their gradients are summed at the end from h and dh of every direction.
    shared = need_gates and gates.shape[3] != x.shape[1]
    scan = _Scan(x, gates, directions, merge, normalize, gpu, (grad, x, gates), backward=True, can_fuse=not shared)
    # For (n, d, c, h, w): where directions were merged, all of them get the same gradient.
    strides = grad.strides if merge == "none" else (grad.strides[0], 0, *grad.strides[1:])
    scan.call["grad_strides"] = strides
    state = state_dtype(x.dtype)
    scan.buffers += [
        Buffer("grad_x", x.shape if need_x else (0,), x.dtype),
        Buffer("grad_gates", gates.shape if need_gates else (0,), x.dtype),
        Buffer("h", (x.shape if scan.fused else scan.maps_shape) if need_gates else (0,), state),
        Buffer("dh", scan.maps_shape if shared else (0,), state),
    ]
    pointers: dict[str, str | None] = {name: name for name in ("x", "gates", "grad", "winner", "h", "dh", "grad_gates")}
    pointers |= {"out": "grad_x", "maps": scan.maps_for("grad_x") if need_x else None}
    if need_gates and not scan.fused:
        scan.walk("propagate_forward", {"x": "x", "gates": "gates", "h": "h"})
    scan.walk("propagate_backward", {**pointers, "grad_gates": None} if shared else pointers)
    if need_x and scan.joins:
        scan.join({**pointers, "winner": None}, _SUM)
    if shared:
        planes = x.shape[0] * len(directions) * gates.shape[3]
        scan.launches.append(_per_pixel("sum_over_channels", scan.call, planes, x.shape).point_to(_names(pointers)))
    return scan.plan(("grad", "x", "gates", "winner"), ("grad_x", "grad_gates"))


class _Scan:
    """A plan in the making."""

    def __init__(
        self,
        x: Layout,
        gates: Layout,
        directions: tuple[int, ...],
        merge: str,
        normalize: str | None,
        gpu: Gpu,
        inputs: tuple[Layout, ...],
        backward: bool,
        can_fuse: bool = True,
    ) -> None:
        piece = piece_of(*inputs)
        connection = gates.shape[2]
        self.x, self.merge, self.directions = x, MERGES.index(merge), directions
        self.maps_shape = (x.shape[0], len(directions), *x.shape[1:])
        self.tiles = plan_tiles(x.shape, connection, x.dtype, directions, gpu)
        self.fused = can_fuse and merge != "none" and fuses_directions(x.shape, self.tiles, len(directions), gpu)
        self.joins = not self.fused and len(directions) > 1
        self.carried = connection if backward else 1
        self.bands = max(self.tiles.bands)
        self.buffers: list[Buffer] = []
        self.launches: list[Launch] = []
        call = self.call = np.zeros(1, _CALL)
        call["x_strides"], call["gate_strides"] = x.strides, gates.strides
        call["batch"], call["channels"], call["height"], call["width"] = x.shape
        call["groups"], call["directions"] = gates.shape[3], len(directions)
        call["direction"][0, : len(directions)] = directions
        call["merge"], call["fused"], call["bands"] = self.merge, self.fused, self.bands
        call["log2_band"], call["log2_chunk"] = self.tiles.log2_band, self.tiles.log2_chunk
        wide = needs_wide_index(*inputs, connection=connection)
        self.options = compile_options(x.dtype, connection, wide, normalize, piece)

    def maps_for(self, result: str) -> str | None:
        """Say where directions are merged: in the result if it has the state's type, else in scratch."""
        state = state_dtype(self.x.dtype)
        if not self.fused and not self.joins:
            return None
        if self.fused and self.x.dtype == state:
            return result
        self.buffers.append(Buffer("maps", self.x.shape if self.fused else self.maps_shape, state))
        return "maps"

    def walk(self, kernel: str, pointers: dict[str, str | None]) -> None:
        """Add a launch that scans, and what its bands tell each other."""
        planes = self.x.shape[0] * self.x.shape[1]
        walks = planes if self.fused else planes * len(self.directions)
        call, pointers = self.call.copy(), dict(pointers)
        if self.tiles.leans:
            # The last two pixels of each line, for all bands, or for two at a time.
            carried = 1 if kernel == "propagate_forward" else self.carried
            slots = 2 if self.fused else self.bands
            call["edges_per_walk"] = slots * max(self.x.shape[2:]) * carried * 2
            number = len(self.launches)
            edges = (int(call["edges_per_walk"][0]) * walks,)
            self.buffers.append(Buffer(f"edges {number}", edges, state_dtype(self.x.dtype)))
            pointers["edges"] = f"edges {number}"
            if not self.fused:
                self.buffers.append(Buffer(f"progress {number}", (1 + walks * self.bands,), torch.int32, zeroed=True))
                pointers["progress"] = f"progress {number}"
        grid = (walks if self.fused else walks * self.bands, 1)
        launch = Launch(kernel, grid, self.tiles.threads, self.tiles.shared, call)
        self.launches.append(launch.point_to(_names(pointers)))

    def join(self, pointers: dict[str, str | None], merge: int) -> None:
        call = self.call.copy()
        call["merge"] = merge
        planes = self.x.shape[0] * self.x.shape[1]
        self.launches.append(_per_pixel("merge_maps", call, planes, self.x.shape).point_to(_names(pointers)))

    def plan(self, inputs: tuple[str, ...], results: tuple[str, ...]) -> Plan:
        return Plan(inputs, self.buffers, results, self.launches, SOURCE, self.options)


def _names(pointers: dict[str, str | None]) -> list[str | None]:
    return [pointers.get(name) for name in _POINTERS]


def fuses_directions(shape: Sequence[int], tiles: Tiles, directions: int, gpu: Gpu) -> bool:
    """Whether a block takes all directions of a plane in turn, not one band of one direction.

    That moves fewer bytes. It pays if the planes keep at least three quarters of the GPU busy.
    """
    planes = shape[0] * shape[1]
    # The system takes a kilobyte for each block.
    slots = max(1, gpu.multiprocessors * (gpu.shared_per_multiprocessor // (tiles.shared + 1024)))
    rounds = -(-planes // slots)
    counts = planes * directions * max(tiles.bands) < 2**24  # all blocks of a split launch, in float32
    return 4 * planes >= 3 * rounds * slots or not counts


def plan_tiles(shape: Sequence[int], connection: int, dtype: torch.dtype, directions: Sequence[int], gpu: Gpu) -> Tiles:
    """Return tiles of which three fit a multiprocessor of a large GPU, and two any other."""
    batch, channels, height, width = shape
    itemsize = state_dtype(dtype).itemsize
    limit = min(gpu.shared_per_block, gpu.shared_per_multiprocessor // 3 - 1024)
    if limit < _tile_bytes(connection, _THREADS, 32, itemsize):
        limit = min(gpu.shared_per_block, gpu.shared_per_multiprocessor // 2 - 1024)
    piece = 16 // dtype.itemsize
    tiles = []
    for lines, length in ((width, height), (height, width)):
        band = max(piece, _power_of_two(length))
        if band > _LONGEST_BAND:  # a line has `length + lines` pixels once bands lean, and what juts out is wasted
            band = _THREADS if length >= 512 else _THREADS // 2
        chunk = max(piece, min(32, _power_of_two(lines)))
        while chunk > piece and _tile_bytes(connection, band, chunk, itemsize) > limit:
            chunk //= 2
        while band > piece and _tile_bytes(connection, band, chunk, itemsize) > limit:
            band //= 2
        while chunk < min(lines, 64) and _tile_bytes(connection, band, 2 * chunk, itemsize) <= limit:
            chunk *= 2
        leans = connection == 3 and length > band
        tiles.append((band, chunk, -(-(length + (lines - 1) * leans) // band), leans))
    used = [tiles[direction % 2] for direction in directions]
    # A thread for each pixel of a line. More hide latency where a block is alone on its multiprocessor.
    alone = batch * channels * len(directions) * max(bands for _, _, bands, _ in used) <= gpu.multiprocessors
    threads = min(MAX_THREADS if alone else _THREADS, max(band * chunk // piece for band, chunk, *_ in tiles))
    return Tiles(
        log2_band=(tiles[0][0].bit_length() - 1, tiles[1][0].bit_length() - 1),
        log2_chunk=(tiles[0][1].bit_length() - 1, tiles[1][1].bit_length() - 1),
        bands=(tiles[0][2], tiles[1][2]),
        leans=any(leans for *_, leans in used),
        threads=max(32, threads, *(band for band, *_ in tiles)),
        shared=max(_tile_bytes(connection, band, chunk, itemsize) for band, chunk, *_ in used),
    )


def _power_of_two(number: int) -> int:
    """Return the smallest power of two that is at least `number`."""
    return 1 << (number - 1).bit_length()


def _tile_bytes(connection: int, band: int, chunk: int, itemsize: int) -> int:
    return (connection + 1) * (chunk + 1) * (band + 4) * itemsize


def piece_of(*inputs: Layout) -> int:
    """How many pixels of a row a thread moves at a time: 16 bytes if every row of every tensor is aligned, else one."""
    piece = 16 // inputs[0].dtype.itemsize
    if inputs[0].shape[-1] % piece or not all(one.aligned for one in inputs):
        return 1
    for one in inputs:
        *others, columns = one.strides
        if columns != 1 or any(stride % piece for stride, size in zip(others, one.shape, strict=False) if size > 1):
            return 1
    return piece


def _per_pixel(kernel: str, call: npt.NDArray[Any], planes: int, shape: Sequence[int]) -> Launch:
    blocks = min(-(-shape[2] * shape[3] // _PIXEL_THREADS), 65535)
    return Launch(kernel, (planes, blocks), _PIXEL_THREADS, 0, call)


def compile_options(
    dtype: torch.dtype, connection: int, wide: bool, normalize: str | None = None, piece: int = 1
) -> tuple[str, ...]:
    """Definitions that make propagate.cu a kernel for these types; `wide` makes offsets in a plane 64 bits wide."""
    index = "long long" if wide else "unsigned"
    mode = -1 if normalize is None else MODES.index(normalize)
    normalization = (f"-DNORMALIZE={mode}", f"-DSHRINK={shrinkage(dtype)!r}")
    return (*type_options(dtype), f"-DCONNECTION={connection}", f"-DINDEX={index}", f"-DPIECE={piece}", *normalization)


def needs_wide_index(*inputs: Layout, connection: int) -> bool:
    """Whether an offset within one plane of any tensor exceeds 31 bits; `inputs` end with x and the gates."""
    *_, x, gates = inputs
    channels, height, width = x.shape[1:]
    spans = [(height - 1) * one.strides[-2] + (width - 1) * one.strides[-1] for one in inputs]
    spans[-1] += (connection - 1) * gates.strides[2]
    return max(*spans, connection * channels * height * width) >= 2**31  # the last: the contiguous gradient of gates
