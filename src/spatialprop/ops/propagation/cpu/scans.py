"""Work items of the CPU kernels, their scans, and where each finds its data.

A work item is a run of channels that share their gates. A scan goes through its lines in strips, which fit into the
cache together with their gates. The backward pass goes through blocks of strips.
"""

from typing import Any, NamedTuple

import numpy as np

from spatialprop.ops.machine.jit import kernel_part
from spatialprop.ops.machine.vectors import LANES, TILE, padded
from spatialprop.ops.propagation.cpu.lines import ZERO, Lines, Strip, Winners, find_lines, pitch_of, plane_walk
from spatialprop.ops.propagation.cpu.normalization import NOTHING, Rule, squash_lines


class Shape(NamedTuple):
    batch: int
    channels: int
    height: int
    width: int
    groups: int
    connection: int


class Call(NamedTuple):
    """What both passes take: the inputs as flat arrays, their strides, and how the work is divided."""

    x: Any
    x_strides: tuple[int, ...]
    gates: Any
    gate_strides: tuple[int, ...]
    rule: Rule
    directions: Any
    merge: int
    shape: Shape
    run: int  # the most channels of a work item
    block: int  # lines; the forward pass keeps the last one of each block for the backward pass
    strips: tuple[int, int]  # lines of a strip if lines are columns, and if they are rows


class Upstream(NamedTuple):
    """The gradient of the result, with strides for (n, d, c, h, w), and what the forward pass kept."""

    grad: Any
    strides: tuple[int, ...]
    winner: Any
    kept: Any


class _Item(NamedTuple):
    """A run of channels that share their gates."""

    n: int
    g: int
    begin: int  # first channel
    end: int  # last channel + 1


class Scan(NamedTuple):
    """One direction of an item."""

    item: _Item
    d: int
    lines: int
    length: int
    strip: int  # lines
    pitch: int  # elements from one line of a buffer to the next
    kept_at: int  # where its lines start among all that are kept of a plane
    # How it walks the planes of each tensor, from `plane_walk`.
    over_x: tuple[int, int, int]
    over_gates: tuple[int, int, int]
    over_result: tuple[int, int, int]


class Buffers(NamedTuple):
    """Buffers of a thread, each for one strip except `scans` and `carried`."""

    gates: Any
    x_lines: Any
    tile: Any
    scans: Any  # each with the line before it, and zeros between lines
    carried: Any  # for each channel: the last line of a strip or, in the backward pass, lines of gate * dh
    no_winners: Winners  # where winners do not matter


@kernel_part
def item_of(call, i):
    shared = call.shape.channels // call.shape.groups
    runs = (shared + call.run - 1) // call.run
    n, rest = divmod(i, call.shape.groups * runs)
    g, r = divmod(rest, runs)
    begin = g * shared + r * call.run
    return _Item(n, g, begin, min(begin + call.run, (g + 1) * shared))


@kernel_part
def _lines_of(call, d):
    """Return how many lines a direction has, and their length."""
    height, width = call.shape.height, call.shape.width
    return (width, height) if call.directions[d] % 2 == 0 else (height, width)


@kernel_part
def _scan_of(call, item, d):
    height, width = call.shape.height, call.shape.width
    kept_at = 0
    for earlier in range(d):
        lines, length = _lines_of(call, earlier)
        kept_at += (lines + call.block - 1) // call.block * length
    lines, length = _lines_of(call, d)
    direction = call.directions[d]
    over_x = plane_walk(direction, call.x_strides[2], call.x_strides[3], height, width)
    over_gates = plane_walk(direction, call.gate_strides[4], call.gate_strides[5], height, width)
    over_result = plane_walk(direction, width, 1, height, width)
    strip = call.strips[direction % 2]
    return Scan(item, d, lines, length, strip, pitch_of(length), kept_at, over_x, over_gates, over_result)


@kernel_part
def next_scan(call, item, d, buffers, pitch):
    """Return the scan of a direction, after one whose lines were `pitch` apart in the buffers."""
    scan = _scan_of(call, item, d)
    if scan.pitch != pitch:  # now other elements must be zero
        buffers.scans[:] = 0
        buffers.carried[:] = 0
    return scan


@kernel_part
def plane_of(call, n, c):
    """Return where a plane of a contiguous (N, C, H, W) starts."""
    return (n * call.shape.channels + c) * call.shape.height * call.shape.width


@kernel_part
def merged_plane(call, item, c, merged, result):
    """Return where directions of a plane are merged: `merged` is the result, or scratch for the planes of one item."""
    return plane_of(call, item.n, c) if merged.size == result.size else plane_of(call, 0, c - item.begin)


@kernel_part
def kept_line(call, scan, c, index, kept):
    """Return where the last line of a block is kept."""
    planes = call.shape.batch * call.shape.channels
    return (scan.item.n * call.shape.channels + c) * (kept.size // planes) + scan.kept_at + index * scan.length


@kernel_part
def buffered(array, scan):
    """Return the lines of a buffer, which holds one strip for each gate."""
    return Lines(array, 0, scan.pitch, scan.strip * scan.pitch)


@kernel_part
def find_x(call, scan, c, t0, count, buffers):
    plane = scan.item.n * call.x_strides[0] + c * call.x_strides[1]
    strip = Strip(scan.over_x, t0, count, scan.length)
    return find_lines(buffered(buffers.x_lines, scan), call.x, plane, strip, buffers.no_winners, buffers.tile)


@kernel_part
def find_gates(call, scan, t0, count, buffers):
    to_n, to_d, to_k, to_g = call.gate_strides[:4]
    plane = scan.item.n * to_n + scan.d * to_d + scan.item.g * to_g
    strip, buffer = Strip(scan.over_gates, t0, count, scan.length), buffered(buffers.gates, scan)
    first, apart = buffer, 0
    for j in range(call.shape.connection):
        here = Lines(buffer.array, j * buffer.apart, buffer.step, 0)
        found = find_lines(here, call.gates, plane + j * to_k, strip, buffers.no_winners, buffers.tile)
        if j == 0:
            first = found
        elif j == 1:
            apart = found.at - first.at
    found = Lines(first.array, first.at, first.step, apart)
    if call.rule.squashes == NOTHING:
        return found
    squash_lines(buffer, found, call.rule, count, scan.length, call.shape.connection)
    return buffer


@kernel_part
def size_of_strip(call):
    return max(call.strips[0] * pitch_of(call.shape.height), call.strips[1] * pitch_of(call.shape.width))


@kernel_part
def make_buffers(call, state, scans, carried):
    size = size_of_strip(call)
    return Buffers(
        gates=np.zeros(call.shape.connection * size, state),
        x_lines=np.zeros(size, state),
        tile=np.zeros(TILE * padded(max(call.strips)), state),
        scans=np.zeros(LANES + scans, state)[LANES:],
        carried=np.zeros(carried, state),
        no_winners=Winners(np.empty(0, np.uint8), ZERO, ZERO),
    )


@kernel_part
def size_of_scan(call):
    """Elements of a block of a scan and the line before it."""
    height, width = call.shape.height, call.shape.width
    return max((1 + min(call.block, width)) * pitch_of(height), (1 + min(call.block, height)) * pitch_of(width))


@kernel_part
def size_of_carried(call):
    """Elements of the lines that `scan_lines_back` carries from line to line, with the zeros before them."""
    return LANES + 6 * pitch_of(max(call.shape.height, call.shape.width))
