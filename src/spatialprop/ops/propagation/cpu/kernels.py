"""The CPU kernels: both passes over a range of work items (see scans.py).

An item takes the directions one after the other and merges each with the result while its planes are in cache, so that
gates are read from memory once. Items write to disjoint memory, and the order of every sum is fixed, so the result does
not depend on the number of threads, to the last bit.

The backward pass takes the last block first. It makes the scan of the block again, from the line that the forward pass
kept of the block before, and then goes back over it while its gates are in cache.
"""

from typing import Any, NamedTuple

import numpy as np

from spatialprop.ops.contract import MERGES
from spatialprop.ops.machine.halves import narrow
from spatialprop.ops.machine.jit import compiled, kernel_part
from spatialprop.ops.machine.vectors import LANES, row_at
from spatialprop.ops.propagation.cpu.equations import BackwardLines, copy_line, scan_lines, scan_lines_back, zero_line
from spatialprop.ops.propagation.cpu.lines import (
    ADD,
    MAX,
    WRITE,
    ZERO,
    Lines,
    Strip,
    Winners,
    copy_plane,
    find_lines,
    finish_plane,
    pitch_of,
    rows_to_write,
    store_lines,
)
from spatialprop.ops.propagation.cpu.normalization import differentiate_lines
from spatialprop.ops.propagation.cpu.scans import (
    buffered,
    find_gates,
    find_x,
    item_of,
    kept_line,
    make_buffers,
    merged_plane,
    next_scan,
    plane_of,
    size_of_carried,
    size_of_scan,
    size_of_strip,
)

_MERGE_MAX, _MERGE_MEAN, _MERGE_NONE = (MERGES.index(merge) for merge in ("max", "mean", "none"))


@kernel_part
def _weight_of_direction(call, state):
    """The weight of one direction in the merged map."""
    return state.type(1) / state.type(call.directions.size if call.merge == _MERGE_MEAN else 1)


@kernel_part
def _forward_scan(call, scan, buffers, merged, out, winner, kept):
    item, length, pitch, h = scan.item, scan.length, scan.pitch, buffers.scans
    for t0 in range(0, scan.lines, scan.strip):
        count = min(scan.strip, scan.lines - t0)
        strip = Strip(scan.over_result, t0, count, length)
        gates = find_gates(call, scan, t0, count, buffers)
        for c in range(item.begin, item.end):
            x_lines = find_x(call, scan, c, t0, count, buffers)
            carried_at = (c - item.begin) * pitch
            if t0 > 0:
                copy_line(h, ZERO, buffers.carried, carried_at, length)
                h[length] = 0
            scan_lines(h, ZERO, pitch, x_lines, gates, t0 == 0, count, length, call.shape.connection, call.rule)
            copy_line(buffers.carried, carried_at, h, count * pitch, length)
            if kept.size and ((t0 + count) % call.block == 0 or t0 + count == scan.lines):
                copy_line(kept, kept_line(call, scan, c, t0 // call.block, kept), h, count * pitch, length)
            scanned = Lines(h, pitch, pitch, 0)
            if call.merge == _MERGE_NONE:
                plane = plane_of(call, item.n * call.directions.size + scan.d, c)
                store_lines(scanned, WRITE, out, plane, strip, buffers.no_winners, buffers.tile)
            else:
                rule = WRITE if scan.d == 0 else (MAX if call.merge == _MERGE_MAX else ADD)
                plane = merged_plane(call, item, c, merged, out)
                winners = Winners(winner, plane_of(call, item.n, c), scan.d)
                store_lines(scanned, rule, merged, plane, strip, winners, buffers.tile)


@kernel_part
def _finish(call, item, merged, result, scale):
    size = call.shape.height * call.shape.width
    for c in range(item.begin, item.end):
        finish_plane(
            result, plane_of(call, item.n, c), merged, merged_plane(call, item, c, merged, result), size, scale
        )


@compiled
def forward_items(call, merged, out, winner, kept, first, last):
    """Compute items `first` to `last`.

    `merged` holds the planes merged so far: `out` itself, or scratch of the state's type. Unless they are empty,
    `winner` and `kept` get what the backward pass needs: which direction won, and the last line of each block.
    """
    line = pitch_of(max(call.shape.height, call.shape.width))
    buffers = make_buffers(call, merged.dtype, line + size_of_strip(call), call.run * line)
    pitch = 0
    for i in range(first, last):
        item = item_of(call, i)
        for d in range(call.directions.size):
            scan = next_scan(call, item, d, buffers, pitch)
            pitch = scan.pitch
            _forward_scan(call, scan, buffers, merged, out, winner, kept)
        if call.merge != _MERGE_NONE:
            _finish(call, item, merged, out, _weight_of_direction(call, merged.dtype))


class _BackwardBuffers(NamedTuple):
    """Buffers that only the backward pass needs, each for one strip."""

    upstream: Any
    grad_x: Any
    grad_gates: Any


@kernel_part
def _upstream_planes(call, scan, upstream, copied):
    """Find the upstream gradient of a scan: its array, its first plane, and the step to the next plane.

    `copied` is empty if pixels are where those of the contiguous `winner` are. If not, the planes are copied there: for
    the first direction only if all directions get the same gradient.
    """
    to_n, to_d, to_c, row, column = upstream.strides
    begin, end = scan.item.begin, scan.item.end
    start = scan.item.n * to_n + scan.d * to_d + begin * to_c
    if copied.size == 0:
        return upstream.grad, start, to_c
    height, width = call.shape.height, call.shape.width
    if scan.d == 0 or to_d != 0:
        for i in range(end - begin):
            copy_plane(copied, i * height * width, upstream.grad, start + i * to_c, row, column, height, width)
    return copied, 0, height * width


@kernel_part
def _scan_again(call, scan, buffers, kept, b0, b1):
    """Scan lines b0 to b1 of all channels; return the gates of the last strip, and x of its last channel."""
    pitch, length, h = scan.pitch, scan.length, buffers.scans
    gates, x_lines = buffered(buffers.gates, scan), buffered(buffers.x_lines, scan)
    for t0 in range(b0, b1, scan.strip):
        count = min(scan.strip, b1 - t0)
        gates = find_gates(call, scan, t0, count, buffers)
        for c in range(scan.item.begin, scan.item.end):
            x_lines = find_x(call, scan, c, t0, count, buffers)
            before = (c - scan.item.begin) * size_of_scan(call) + (t0 - b0) * pitch
            if t0 == b0 > 0:
                copy_line(h, before, kept, kept_line(call, scan, c, b0 // call.block - 1, kept), length)
                h[before + length] = 0
            scan_lines(h, before, pitch, x_lines, gates, t0 == 0, count, length, call.shape.connection, call.rule)
    return gates, x_lines


@kernel_part
def _gate_planes(call, scan):
    """Return where the gate gradients of a scan start: every run of channels in a group has a slice of its own."""
    shape, item = call.shape, scan.item
    part = (item.begin - item.g * (shape.channels // shape.groups)) // call.run
    n_and_d = (part * shape.batch + item.n) * call.directions.size + scan.d
    return (n_and_d * shape.connection * shape.groups + item.g) * shape.height * shape.width


@kernel_part
def _gate_gradient_lines(call, scan, buffer, grad_gates, t0):
    """Return where gate gradients are summed, and whether that is in the result, where lines are rows of its type."""
    first, step, pixel = scan.over_result
    if pixel == 1:
        found, in_result = rows_to_write(buffer, grad_gates, _gate_planes(call, scan) + first + t0 * step, step)
        if in_result:
            apart = call.shape.groups * call.shape.height * call.shape.width
            return Lines(found.array, found.at, found.step, apart), True
    return buffer, False


@kernel_part
def _block_back(call, scan, buffers, own_buffers, upstream, planes, merged, grad_x, grad_gates, b0, b1):
    """Go back over lines b0 to b1, the last one first."""
    source, first_plane, next_plane = planes
    item, length, pitch, connection = scan.item, scan.length, scan.pitch, call.shape.connection
    need_gates = grad_gates.size > 0
    gates, x_lines = buffered(buffers.gates, scan), buffered(buffers.x_lines, scan)
    if need_gates:
        gates, x_lines = _scan_again(call, scan, buffers, upstream.kept, b0, b1)
    for t0 in range(b0 + (b1 - b0 - 1) // scan.strip * scan.strip, b0 - 1, -scan.strip):
        count = min(scan.strip, b1 - t0)
        strip = Strip(scan.over_result, t0, count, length)
        still_there = need_gates and t0 + count == b1  # what `_scan_again` found last
        if not still_there:
            gates = find_gates(call, scan, t0, count, buffers)
        sums, in_result = _gate_gradient_lines(call, scan, buffered(own_buffers.grad_gates, scan), grad_gates, t0)
        for c in range(item.begin, item.end):
            i = c - item.begin
            if need_gates and not (still_there and item.end - item.begin == 1):
                x_lines = find_x(call, scan, c, t0, count, buffers)
            plane, winners = first_plane + i * next_plane, Winners(upstream.winner, plane_of(call, item.n, c), scan.d)
            upstream_lines = find_lines(
                buffered(own_buffers.upstream, scan), source, plane, strip, winners, buffers.tile
            )
            carried = row_at(buffers.carried, i * size_of_carried(call) + LANES, 6 * pitch)
            if t0 + count == scan.lines:
                zero_line(carried, ZERO, 3 * pitch)
            scan_lines_back(
                BackwardLines(upstream_lines, x_lines, gates, buffered(own_buffers.grad_x, scan), sums),
                _weight_of_direction(call, merged.dtype),
                buffers.scans,
                i * size_of_scan(call) + (t0 - b0) * pitch,
                pitch,
                carried,
                t0 == 0,
                count,
                length,
                connection,
                i == 0,
                need_gates,
                call.rule,
            )
            if grad_x.size:
                rule, plane = WRITE if scan.d == 0 else ADD, merged_plane(call, item, c, merged, grad_x)
                store_lines(
                    buffered(own_buffers.grad_x, scan), rule, merged, plane, strip, buffers.no_winners, buffers.tile
                )
        if need_gates and call.rule.normalizes:
            differentiate_lines(sums, gates, call.rule, count, length, connection)
        if need_gates and not in_result:
            for j in range(connection):
                lines = Lines(sums.array, j * sums.apart, sums.step, 0)
                plane = _gate_planes(call, scan) + j * call.shape.groups * call.shape.height * call.shape.width
                store_lines(lines, WRITE, grad_gates, plane, strip, buffers.no_winners, buffers.tile)


@compiled
def backward_items(call, upstream, merged, grad_x, grad_gates, first, last):
    """Compute items `first` to `last` of the gradients; a gradient that is empty is not needed.

    `merged` holds `grad_x` so far, as in `forward_items`. `grad_gates` has one slice for each run of channels.
    """
    height, width = call.shape.height, call.shape.width
    state, size = merged.dtype, size_of_strip(call)
    scans = call.run * size_of_scan(call) if grad_gates.size else 0
    buffers = make_buffers(call, state, scans, call.run * size_of_carried(call))
    own_buffers = _BackwardBuffers(
        np.zeros(size, state), np.zeros(size, state), np.zeros(call.shape.connection * size, state)
    )
    row, column = upstream.strides[3:]
    ready = (row == width or height == 1) and (column == 1 or width == 1)
    copied = np.empty(0 if ready else call.run * height * width, upstream.grad.dtype)
    pitch = 0
    for i in range(first, last):
        item = item_of(call, i)
        for d in range(call.directions.size):
            scan = next_scan(call, item, d, buffers, pitch)
            pitch = scan.pitch
            planes = _upstream_planes(call, scan, upstream, copied)
            for b0 in range((scan.lines - 1) // call.block * call.block, -1, -call.block):
                b1 = min(b0 + call.block, scan.lines)
                _block_back(call, scan, buffers, own_buffers, upstream, planes, merged, grad_x, grad_gates, b0, b1)
        if grad_x.size:
            _finish(call, item, merged, grad_x, state.type(1))


@compiled
def add_parts(parts, total, first, last):
    """Compute elements `first` to `last` of the sum of equally large parts, added in their order."""
    for i in range(first, last):
        element = parts[i]
        for part in range(1, parts.size // total.size):
            element += parts[part * total.size + i]
        total[i] = narrow(element, total)
