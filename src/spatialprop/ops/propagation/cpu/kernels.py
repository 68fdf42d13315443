"""The CPU kernels: cpu_equations.py over a range of work items.

A work item is a run of channels that share their gates. It takes the directions one after the other and joins each
scan with the result while the planes are in cache, so that gates are read from memory once. Items touch disjoint
memory, and what is added up, and in which order, does not depend on threads: the same input gives the same bits.

A scan takes as many lines at a time as stay in cache together with their gates: a strip. The backward pass takes blocks
of strips, the last one first: it makes a block's scan again, from the line before it that the forward pass kept, and
walks back over it, so that the second time gates come from the cache.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from spatialprop.ops.contract import MERGES
from spatialprop.ops.machine.halves import narrow
from spatialprop.ops.machine.vectors import JIT, LANES, PART, row_at
from spatialprop.ops.propagation.cpu.equations import Gradients, copy_line, scan_lines, scan_lines_back, zero_line
from spatialprop.ops.propagation.cpu.lines import (
    ADD,
    MAX,
    PUT,
    ZERO,
    Lines,
    Strip,
    Winners,
    copy_plane,
    find_lines,
    finish_plane,
    pitch_of,
    room_for_rows,
    store_lines,
)
from spatialprop.ops.propagation.cpu.scans import (
    buffered,
    find_gates,
    find_own,
    folded_plane,
    item_of,
    kept_line,
    next_scan,
    plane_of,
    room_for,
    scan_size,
    sent_size,
    strip_size,
)

MERGE_MAX, MERGE_MEAN, MERGE_NONE = (MERGES.index(merge) for merge in ("max", "mean", "none"))


@njit(**PART)
def weight_of_direction(call, state):
    """What one direction counts for in the merged map."""
    return state.type(1) / state.type(call.directions.size if call.merge == MERGE_MEAN else 1)


@njit(**PART)
def forward_scan(call, scan, room, fold, out, winner, kept):
    item, length, pitch, h = scan.item, scan.length, scan.pitch, room.scans
    for t0 in range(0, scan.lines, scan.strip):
        count = min(scan.strip, scan.lines - t0)
        strip = Strip(scan.over_result, t0, count, length)
        gates = find_gates(call, scan, t0, count, room)
        for c in range(item.begin, item.end):
            own = find_own(call, scan, c, t0, count, room)
            mine = (c - item.begin) * pitch
            if t0 > 0:
                copy_line(h, ZERO, room.handed_on, mine, length)
                h[length] = 0
            scan_lines(h, ZERO, pitch, own, gates, t0 == 0, count, length, call.shape.connection)
            copy_line(room.handed_on, mine, h, count * pitch, length)
            if kept.size and ((t0 + count) % call.block == 0 or t0 + count == scan.lines):
                copy_line(kept, kept_line(call, scan, c, t0 // call.block, kept), h, count * pitch, length)
            scanned = Lines(h, pitch, pitch, 0)
            if call.merge == MERGE_NONE:
                plane = plane_of(call, item.n * call.directions.size + scan.d, c)
                store_lines(scanned, PUT, out, plane, strip, room.nobody, room.tile)
            else:
                how = PUT if scan.d == 0 else (MAX if call.merge == MERGE_MAX else ADD)
                plane = folded_plane(call, item, c, fold, out)
                winners = Winners(winner, plane_of(call, item.n, c), scan.d)
                store_lines(scanned, how, fold, plane, strip, winners, room.tile)


@njit(**PART)
def finish(call, item, fold, result, scale):
    size = call.shape.height * call.shape.width
    for c in range(item.begin, item.end):
        finish_plane(result, plane_of(call, item.n, c), fold, folded_plane(call, item, c, fold, result), size, scale)


@njit(**JIT)
def forward_items(call, fold, out, winner, kept, first, last):
    """Items `first` to `last`.

    `fold` holds the planes merged so far: `out` itself, or scratch of the state's type. `winner` and `kept`, unless
    empty, get what the backward pass wants: the direction that won, and of every scan the last line of each block.
    """
    line = pitch_of(max(call.shape.height, call.shape.width))
    room = room_for(call, fold.dtype, line + strip_size(call), call.run * line)
    pitch = 0
    for i in range(first, last):
        item = item_of(call, i)
        for d in range(call.directions.size):
            scan = next_scan(call, item, d, room, pitch)
            pitch = scan.pitch
            forward_scan(call, scan, room, fold, out, winner, kept)
        if call.merge != MERGE_NONE:
            finish(call, item, fold, out, weight_of_direction(call, fold.dtype))


class RoomBack(NamedTuple):
    """What the backward pass needs besides `Room`: buffers for a strip."""

    arriving: Any
    grad_x: Any
    grad_gates: Any


@njit(**PART)
def arriving_planes(call, scan, arriving, copied):
    """Where the planes lie that arrive at an item's scan: the array, the first plane, the step from one to the next.

    `copied` is empty if their pixels lie as those of `winner` do, which masks them. Else it is filled, but once only
    if all directions receive the same.
    """
    to_n, to_d, to_c, row, column = arriving.strides
    begin, end = scan.item.begin, scan.item.end
    start = scan.item.n * to_n + scan.d * to_d + begin * to_c
    if copied.size == 0:
        return arriving.grad, start, to_c
    height, width = call.shape.height, call.shape.width
    if scan.d == 0 or to_d != 0:
        for i in range(end - begin):
            copy_plane(copied, i * height * width, arriving.grad, start + i * to_c, row, column, height, width)
    return copied, 0, height * width


@njit(**PART)
def scan_again(call, scan, room, kept, b0, b1):
    """The scan of lines b0 to b1, of all channels. Returns the gates of its last strip, and the last channel's own."""
    pitch, length, h = scan.pitch, scan.length, room.scans
    gates, own = buffered(room.gates, scan), buffered(room.own, scan)
    for t0 in range(b0, b1, scan.strip):
        count = min(scan.strip, b1 - t0)
        gates = find_gates(call, scan, t0, count, room)
        for c in range(scan.item.begin, scan.item.end):
            own = find_own(call, scan, c, t0, count, room)
            before = (c - scan.item.begin) * scan_size(call) + (t0 - b0) * pitch
            if t0 == b0 > 0:
                copy_line(h, before, kept, kept_line(call, scan, c, b0 // call.block - 1, kept), length)
                h[before + length] = 0
            scan_lines(h, before, pitch, own, gates, t0 == 0, count, length, call.shape.connection)
    return gates, own


@njit(**PART)
def gate_planes(call, scan):
    """Where the first of a scan's gradients of gates begins: each run of a group's channels has a slice of its own."""
    shape, item = call.shape, scan.item
    part = (item.begin - item.g * (shape.channels // shape.groups)) // call.run
    n_and_d = (part * shape.batch + item.n) * call.directions.size + scan.d
    return (n_and_d * shape.connection * shape.groups + item.g) * shape.height * shape.width


@njit(**PART)
def room_for_gates(call, scan, buffer, grad_gates, t0):
    """Where gradients of gates are summed: in the result where lines lie ready there, else in the buffer."""
    first, step, pixel = scan.over_result
    if pixel == 1:
        found, in_result = room_for_rows(buffer, grad_gates, gate_planes(call, scan) + first + t0 * step, step)
        if in_result:
            apart = call.shape.groups * call.shape.height * call.shape.width
            return Lines(found.array, found.at, found.step, apart), True
    return buffer, False


@njit(**PART)
def block_back(call, scan, room, back, arriving, planes, fold, grad_x, grad_gates, b0, b1):
    """Walk back over lines b0 to b1, the last one first."""
    source, first_plane, next_plane = planes
    item, length, pitch, connection = scan.item, scan.length, scan.pitch, call.shape.connection
    need_gates = grad_gates.size > 0
    gates, own = buffered(room.gates, scan), buffered(room.own, scan)
    if need_gates:
        gates, own = scan_again(call, scan, room, arriving.kept, b0, b1)
    for t0 in range(b0 + (b1 - b0 - 1) // scan.strip * scan.strip, b0 - 1, -scan.strip):
        count = min(scan.strip, b1 - t0)
        strip = Strip(scan.over_result, t0, count, length)
        still_there = need_gates and t0 + count == b1  # what was found for the scan just made
        if not still_there:
            gates = find_gates(call, scan, t0, count, room)
        sums, in_result = room_for_gates(call, scan, buffered(back.grad_gates, scan), grad_gates, t0)
        for c in range(item.begin, item.end):
            i = c - item.begin
            if need_gates and not (still_there and item.end - item.begin == 1):
                own = find_own(call, scan, c, t0, count, room)
            plane, winners = first_plane + i * next_plane, Winners(arriving.winner, plane_of(call, item.n, c), scan.d)
            incoming = find_lines(buffered(back.arriving, scan), source, plane, strip, winners, room.tile)
            sent = row_at(room.handed_on, i * sent_size(call) + LANES, 6 * pitch)
            if t0 + count == scan.lines:
                zero_line(sent, ZERO, 3 * pitch)
            scan_lines_back(
                Gradients(incoming, own, gates, buffered(back.grad_x, scan), sums),
                weight_of_direction(call, fold.dtype),
                room.scans,
                i * scan_size(call) + (t0 - b0) * pitch,
                pitch,
                sent,
                t0 == 0,
                count,
                length,
                connection,
                i == 0,
                need_gates,
            )
            if grad_x.size:
                how, plane = PUT if scan.d == 0 else ADD, folded_plane(call, item, c, fold, grad_x)
                store_lines(buffered(back.grad_x, scan), how, fold, plane, strip, room.nobody, room.tile)
        if need_gates and not in_result:
            for j in range(connection):
                lines = Lines(sums.array, j * sums.apart, sums.step, 0)
                plane = gate_planes(call, scan) + j * call.shape.groups * call.shape.height * call.shape.width
                store_lines(lines, PUT, grad_gates, plane, strip, room.nobody, room.tile)


@njit(**JIT)
def backward_items(call, arriving, fold, grad_x, grad_gates, first, last):
    """Items `first` to `last` of the gradients; one that is empty is not wanted.

    `fold` gathers `grad_x` as in `forward_items`. `grad_gates` has one slice for each run of channels in a group.
    """
    height, width = call.shape.height, call.shape.width
    state, size = fold.dtype, strip_size(call)
    scans = call.run * scan_size(call) if grad_gates.size else 0
    room = room_for(call, state, scans, call.run * sent_size(call))
    back = RoomBack(np.zeros(size, state), np.zeros(size, state), np.zeros(call.shape.connection * size, state))
    row, column = arriving.strides[3:]
    ready = (row == width or height == 1) and (column == 1 or width == 1)
    copied = np.empty(0 if ready else call.run * height * width, arriving.grad.dtype)
    pitch = 0
    for i in range(first, last):
        item = item_of(call, i)
        for d in range(call.directions.size):
            scan = next_scan(call, item, d, room, pitch)
            pitch = scan.pitch
            planes = arriving_planes(call, scan, arriving, copied)
            for b0 in range((scan.lines - 1) // call.block * call.block, -1, -call.block):
                b1 = min(b0 + call.block, scan.lines)
                block_back(call, scan, room, back, arriving, planes, fold, grad_x, grad_gates, b0, b1)
        if grad_x.size:
            finish(call, item, fold, grad_x, state.type(1))


@njit(**JIT)
def add_parts(parts, total, first, last):
    """Elements `first` to `last` of the sum of equally large parts, added up in their order."""
    for i in range(first, last):
        element = parts[i]
        for part in range(1, parts.size // total.size):
            element += parts[part * total.size + i]
        total[i] = narrow(element, total)
