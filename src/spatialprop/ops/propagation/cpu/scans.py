"""What the CPU kernels go over: a call, its work items, their scans, and where everything lies.

A work item is a run of channels that share their gates. A scan takes as many lines at a time as stay in cache together
with their gates: a strip. The backward pass takes blocks of strips.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from spatialprop.ops.machine.vectors import LANES, PART, TILE
from spatialprop.ops.propagation.cpu.lines import ZERO, Lines, Strip, Winners, find_lines, padded, pitch_of, plane_walk


class Shape(NamedTuple):
    batch: int
    channels: int
    height: int
    width: int
    groups: int
    connection: int


class Call(NamedTuple):
    """What both passes are given: the inputs, flat, with their strides, and how to go through them."""

    x: Any
    x_strides: tuple[int, ...]
    gates: Any
    gate_strides: tuple[int, ...]
    directions: Any
    merge: int
    shape: Shape
    run: int  # channels of a work item, at most
    block: int  # lines from one that is kept for the backward pass to the next
    strips: tuple[int, int]  # lines of a strip where lines are columns, and where they are rows


class Arriving(NamedTuple):
    """What arrives at the result, with strides (n, d, c, h, w), and what the forward pass left."""

    grad: Any
    strides: tuple[int, ...]
    winner: Any
    kept: Any


class Item(NamedTuple):
    """A run of channels that share their gates."""

    n: int
    g: int
    begin: int  # of the channels
    end: int


class Scan(NamedTuple):
    """One direction of an item: its lines, and how it walks the planes of each tensor (`plane_walk`)."""

    item: Item
    d: int
    lines: int
    length: int
    strip: int
    pitch: int  # from one buffered line to the next
    kept: int  # where its lines begin among those kept of a plane
    over_x: tuple[int, int, int]
    over_gates: tuple[int, int, int]
    over_result: tuple[int, int, int]


class Room(NamedTuple):
    """Buffers, each for a strip but for `scans` and `handed_on`."""

    gates: Any
    own: Any
    tile: Any
    scans: Any  # each with the line before it; places between lines stay zero
    handed_on: Any  # of each channel: the last line of a strip; backward, what `scan_lines_back` calls m, zero likewise
    nobody: Winners  # for lines that nobody has to win


@njit(**PART)
def item_of(call, i):
    shared = call.shape.channels // call.shape.groups
    runs = (shared + call.run - 1) // call.run
    n, rest = divmod(i, call.shape.groups * runs)
    g, r = divmod(rest, runs)
    begin = g * shared + r * call.run
    return Item(n, g, begin, min(begin + call.run, (g + 1) * shared))


@njit(**PART)
def lines_of(call, d):
    """How many lines a direction has, and how long they are."""
    height, width = call.shape.height, call.shape.width
    return (width, height) if call.directions[d] % 2 == 0 else (height, width)


@njit(**PART)
def scan_of(call, item, d):
    height, width = call.shape.height, call.shape.width
    kept = 0
    for earlier in range(d):
        lines, length = lines_of(call, earlier)
        kept += (lines + call.block - 1) // call.block * length
    lines, length = lines_of(call, d)
    direction = call.directions[d]
    over_x = plane_walk(direction, call.x_strides[2], call.x_strides[3], height, width)
    over_gates = plane_walk(direction, call.gate_strides[4], call.gate_strides[5], height, width)
    over_result = plane_walk(direction, width, 1, height, width)
    strip = call.strips[direction % 2]
    return Scan(item, d, lines, length, strip, pitch_of(length), kept, over_x, over_gates, over_result)


@njit(**PART)
def next_scan(call, item, d, room, pitch):
    """The scan of a direction, after one whose buffered lines were `pitch` apart."""
    scan = scan_of(call, item, d)
    if scan.pitch != pitch:  # other places must be zero now
        room.scans[:] = 0
        room.handed_on[:] = 0
    return scan


@njit(**PART)
def plane_of(call, n, c):
    """Where a plane of a contiguous (N, C, H, W) begins."""
    return (n * call.shape.channels + c) * call.shape.height * call.shape.width


@njit(**PART)
def folded_plane(call, item, c, fold, result):
    """Where directions of a plane are joined: `fold` is the result itself, or scratch for the planes of an item."""
    return plane_of(call, item.n, c) if fold.size == result.size else plane_of(call, 0, c - item.begin)


@njit(**PART)
def kept_line(call, scan, c, index, kept):
    """Where the last line of the block with this index is kept."""
    planes = call.shape.batch * call.shape.channels
    return (scan.item.n * call.shape.channels + c) * (kept.size // planes) + scan.kept + index * scan.length


@njit(**PART)
def buffered(array, scan):
    """A buffer's lines; the gradients or gates of one connection fill one strip, the next lie behind it."""
    return Lines(array, 0, scan.pitch, scan.strip * scan.pitch)


@njit(**PART)
def find_own(call, scan, c, t0, count, room):
    plane = scan.item.n * call.x_strides[0] + c * call.x_strides[1]
    strip = Strip(scan.over_x, t0, count, scan.length)
    return find_lines(buffered(room.own, scan), call.x, plane, strip, room.nobody, room.tile)


@njit(**PART)
def find_gates(call, scan, t0, count, room):
    to_n, to_d, to_k, to_g = call.gate_strides[:4]
    plane = scan.item.n * to_n + scan.d * to_d + scan.item.g * to_g
    strip, buffer = Strip(scan.over_gates, t0, count, scan.length), buffered(room.gates, scan)
    first, apart = buffer, 0
    for j in range(call.shape.connection):
        here = Lines(buffer.array, j * buffer.apart, buffer.step, 0)
        found = find_lines(here, call.gates, plane + j * to_k, strip, room.nobody, room.tile)
        if j == 0:
            first = found
        elif j == 1:
            apart = found.at - first.at
    return Lines(first.array, first.at, first.step, apart)


@njit(**PART)
def strip_size(call):
    return max(call.strips[0] * pitch_of(call.shape.height), call.strips[1] * pitch_of(call.shape.width))


@njit(**PART)
def room_for(call, state, scans, handed_on):
    size = strip_size(call)
    return Room(
        gates=np.zeros(call.shape.connection * size, state),
        own=np.zeros(size, state),
        tile=np.zeros(TILE * padded(max(call.strips)), state),
        scans=np.zeros(LANES + scans, state)[LANES:],
        handed_on=np.zeros(handed_on, state),
        nobody=Winners(np.empty(0, np.uint8), ZERO, ZERO),
    )


@njit(**PART)
def scan_size(call):
    """A block of a scan, with the line before it."""
    height, width = call.shape.height, call.shape.width
    return max((1 + min(call.block, width)) * pitch_of(height), (1 + min(call.block, height)) * pitch_of(width))


@njit(**PART)
def sent_size(call):
    """What `scan_lines_back` hands from line to line, with the zeros before it."""
    return LANES + 6 * pitch_of(max(call.shape.height, call.shape.width))
