"""The CPU kernels: cpu_equations.py over a range of work items.

A work item is a run of channels that share their gates. It takes the directions one after the other and joins each
scan with the result while the planes are in cache, so that gates are read from memory once. Items touch disjoint
memory, and what is added up, and in which order, does not depend on threads: the same input gives the same bits.
"""

import numpy as np
from numba import njit

from spatialprop.ops.contract import MERGES
from spatialprop.ops.cpu_equations import Gradients, copy_line, scan_lines, scan_lines_back, zero_line
from spatialprop.ops.cpu_halves import narrow
from spatialprop.ops.cpu_lines import (
    ADD,
    MAX,
    PUT,
    Lines,
    copy_plane,
    find_lines,
    finish_plane,
    padded,
    pitch_of,
    plane_walk,
    room_for_rows,
    store_lines,
)
from spatialprop.ops.cpu_vectors import JIT, LANES, TILE, row_at

MERGE_MAX, MERGE_MEAN, MERGE_NONE = (MERGES.index(merge) for merge in ("max", "mean", "none"))
NO_WINNER = np.empty(0, np.uint8)


@njit(**JIT)
def find_gates(buffer, gates, plane, next_gate, walk, t0, count, length, connection, tile):
    found = find_lines(buffer, gates, plane, walk, t0, count, length, NO_WINNER, 0, 0, tile)
    apart = 0
    for j in range(1, connection):
        room = Lines(buffer.array, j * buffer.apart, buffer.step, 0)
        other = find_lines(room, gates, plane + j * next_gate, walk, t0, count, length, NO_WINNER, 0, 0, tile)
        if j == 1:
            apart = other.at - found.at
    return Lines(found.array, found.at, found.step, apart)


@njit(**JIT)
def find_own(buffer, x, x_strides, n, c, walk, t0, count, length, tile):
    plane = n * x_strides[0] + c * x_strides[1]
    return find_lines(buffer, x, plane, walk, t0, count, length, NO_WINNER, 0, 0, tile)


@njit(**JIT)
def room_for_gates(buffer, target, plane, next_gate, walk, t0):
    """Where gradients of gates are summed: in the result where lines lie ready there, else in the buffer."""
    first, step, pixel = walk
    if pixel == 1:
        room, in_result = room_for_rows(buffer, target, plane + first + t0 * step, step)
        if in_result:
            return Lines(room.array, room.at, room.step, next_gate), True
    return buffer, False


@njit(**JIT)
def channels_of(item, groups, shared, run):
    """What a work item covers: batch index, group, first channel, end of channels."""
    runs = (shared + run - 1) // run
    n, rest = divmod(item, groups * runs)
    g, r = divmod(rest, runs)
    begin = g * shared + r * run
    return n, g, begin, min(begin + run, (g + 1) * shared)


@njit(**JIT)
def forward_items(
    x,
    x_strides,
    gates,
    gate_strides,
    fold,
    out,
    winner,
    kept,
    directions,
    merge,
    shape,
    run,
    block,
    strips,
    first,
    last,
):
    """Items `first` to `last`. `fold` holds the planes merged so far: `out` itself, or scratch of the state's type.

    `kept`, unless it is empty, gets what `backward_items` starts from: of every scan the last line of each block.
    """
    batch, channels, height, width, groups, connection = shape
    in_place = fold.size == out.size
    plane = height * width
    next_gate = gate_strides[2]
    state = fold.dtype
    size = max(strips[0] * pitch_of(height), strips[1] * pitch_of(width))
    gate = np.zeros(connection * size, state)
    own = np.zeros(size, state)
    # Row 0 is the line before the strip, which each channel leaves for its next one.
    h = np.zeros(LANES + pitch_of(max(height, width)) + size, state)[LANES:]
    carry = np.zeros(run * pitch_of(max(height, width)), state)
    tile = np.zeros(TILE * padded(max(strips[0], strips[1])), state)
    kept_per_plane = kept.size // (batch * channels)
    pitch = 0

    for item in range(first, last):
        n, g, begin, end = channels_of(item, groups, channels // groups, run)
        kept_at = 0
        for d in range(directions.size):
            across = directions[d] % 2  # 0: a line is a column, 1: a row
            lines, length = (width, height) if across == 0 else (height, width)
            strip = strips[across]
            if pitch != pitch_of(length):  # other places must be zero now
                pitch = pitch_of(length)
                h[:] = 0
            gate_room, own_room = Lines(gate, 0, pitch, strip * pitch), Lines(own, 0, pitch, 0)
            x_walk = plane_walk(directions[d], x_strides[2], x_strides[3], height, width)
            gate_walk = plane_walk(directions[d], gate_strides[4], gate_strides[5], height, width)
            out_walk = plane_walk(directions[d], width, 1, height, width)
            gate_plane = n * gate_strides[0] + d * gate_strides[1] + g * gate_strides[3]
            for t0 in range(0, lines, strip):
                count = min(strip, lines - t0)
                weights = find_gates(
                    gate_room, gates, gate_plane, next_gate, gate_walk, t0, count, length, connection, tile
                )
                for c in range(begin, end):
                    mine = find_own(own_room, x, x_strides, n, c, x_walk, t0, count, length, tile)
                    carried = (c - begin) * pitch
                    if t0 > 0:
                        copy_line(h, 0, carry, carried, length)
                        h[length] = 0
                    scan_lines(h, pitch, 0, pitch, mine, weights, t0 == 0, count, length, connection)
                    copy_line(carry, carried, h, count * pitch, length)
                    if kept.size and ((t0 + count) % block == 0 or t0 + count == lines):
                        to = (n * channels + c) * kept_per_plane + kept_at + t0 // block * length
                        copy_line(kept, to, h, count * pitch, length)
                    here = (n * channels + c) * plane
                    if merge == MERGE_NONE:
                        to = ((n * directions.size + d) * channels + c) * plane
                        store_lines(h, pitch, pitch, PUT, out, to, out_walk, t0, count, length, NO_WINNER, 0, 0, tile)
                    else:
                        how = PUT if d == 0 else (MAX if merge == MERGE_MAX else ADD)
                        to = here if in_place else (c - begin) * plane
                        store_lines(h, pitch, pitch, how, fold, to, out_walk, t0, count, length, winner, here, d, tile)
            kept_at += (lines + block - 1) // block * length
        if merge != MERGE_NONE:
            scale = state.type(1) / state.type(directions.size if merge == MERGE_MEAN else 1)
            for c in range(begin, end):
                to = (n * channels + c) * plane
                finish_plane(out, to, fold, to if in_place else (c - begin) * plane, plane, scale)


@njit(**JIT)
def backward_items(
    grad,
    grad_strides,
    x,
    x_strides,
    gates,
    gate_strides,
    winner,
    kept,
    fold,
    grad_x,
    grad_gates,
    directions,
    merge,
    shape,
    run,
    block,
    strips,
    need_x,
    need_gates,
    first,
    last,
):
    """Items `first` to `last` of the gradient. `fold` gathers grad_x as in `forward_items`.

    `grad` has strides (n, d, c, h, w); planes that do not lie as those of `winner` do, which masks them, are copied,
    the ones of one direction of an item at a time.
    `grad_gates` has one slice for each run of channels in a group. Scans are made again, block by block from the lines
    that `forward_items` kept, so that the second time gates come from the cache.
    """
    batch, channels, height, width, groups, connection = shape
    in_place = fold.size == grad_x.size
    plane = height * width
    next_gate = gate_strides[2]
    state = fold.dtype
    size = max(strips[0] * pitch_of(height), strips[1] * pitch_of(width))
    # Row 0 is the line before the block.
    scan = max((1 + min(block, width)) * pitch_of(height), (1 + min(block, height)) * pitch_of(width))
    gate = np.zeros(connection * size, state)
    own = np.zeros(size, state)
    go = np.zeros(size, state)
    gx = np.zeros(size, state)
    gg = np.zeros(connection * size, state)
    scans = np.zeros(LANES + (run * scan if need_gates else 0), state)[LANES:]
    sent_size = LANES + 6 * pitch_of(max(height, width))
    sent = np.zeros(run * sent_size, state)
    tile = np.zeros(TILE * padded(max(strips[0], strips[1])), state)
    kept_per_plane = kept.size // (batch * channels)
    ready = (grad_strides[3] == width or height == 1) and (grad_strides[4] == 1 or width == 1)
    copied = np.empty(0 if ready else run * plane, grad.dtype)
    source = grad if ready else copied
    pitch = 0
    scale = state.type(1) / state.type(directions.size if merge == MERGE_MEAN else 1)

    for item in range(first, last):
        n, g, begin, end = channels_of(item, groups, channels // groups, run)
        kept_at = 0
        for d in range(directions.size):
            across = directions[d] % 2
            lines, length = (width, height) if across == 0 else (height, width)
            strip = strips[across]
            if pitch != pitch_of(length):  # other places must be zero now
                pitch = pitch_of(length)
                scans[:] = 0
                sent[:] = 0
            gate_room, own_room = Lines(gate, 0, pitch, strip * pitch), Lines(own, 0, pitch, 0)
            go_room, gx_room = Lines(go, 0, pitch, 0), Lines(gx, 0, pitch, 0)
            gg_room = Lines(gg, 0, pitch, strip * pitch)
            x_walk = plane_walk(directions[d], x_strides[2], x_strides[3], height, width)
            gate_walk = plane_walk(directions[d], gate_strides[4], gate_strides[5], height, width)
            out_walk = plane_walk(directions[d], width, 1, height, width)
            gate_plane = n * gate_strides[0] + d * gate_strides[1] + g * gate_strides[3]
            part = (begin - g * (channels // groups)) // run
            to_gates = (((part * batch + n) * directions.size + d) * connection * groups + g) * plane
            weights, mine = gate_room, own_room
            if not ready and (d == 0 or grad_strides[1] != 0):
                for c in range(begin, end):
                    at = n * grad_strides[0] + d * grad_strides[1] + c * grad_strides[2]
                    copy_plane(copied, (c - begin) * plane, grad, at, grad_strides[3], grad_strides[4], height, width)

            for b0 in range((lines - 1) // block * block, -1, -block):
                b1 = min(b0 + block, lines)
                if need_gates:
                    for t0 in range(b0, b1, strip):
                        count = min(strip, b1 - t0)
                        weights = find_gates(
                            gate_room, gates, gate_plane, next_gate, gate_walk, t0, count, length, connection, tile
                        )
                        for c in range(begin, end):
                            mine = find_own(own_room, x, x_strides, n, c, x_walk, t0, count, length, tile)
                            before = (c - begin) * scan + (t0 - b0) * pitch
                            if t0 == b0 > 0:
                                at = (n * channels + c) * kept_per_plane + kept_at + (b0 // block - 1) * length
                                copy_line(scans, before, kept, at, length)
                                scans[before + length] = 0
                            at = before + pitch
                            scan_lines(scans, at, before, pitch, mine, weights, t0 == 0, count, length, connection)

                for t0 in range(b0 + (b1 - b0 - 1) // strip * strip, b0 - 1, -strip):
                    count = min(strip, b1 - t0)
                    still_there = need_gates and t0 + count == b1  # what was found for the scan just made
                    if not still_there:
                        weights = find_gates(
                            gate_room, gates, gate_plane, next_gate, gate_walk, t0, count, length, connection, tile
                        )
                    sums, in_result = room_for_gates(gg_room, grad_gates, to_gates, groups * plane, out_walk, t0)
                    for c in range(begin, end):
                        if need_gates and not (still_there and end - begin == 1):
                            mine = find_own(own_room, x, x_strides, n, c, x_walk, t0, count, length, tile)
                        here = (n * channels + c) * plane
                        at = (c - begin) * plane
                        if ready:
                            at = n * grad_strides[0] + d * grad_strides[1] + c * grad_strides[2]
                        arriving = find_lines(go_room, source, at, out_walk, t0, count, length, winner, here, d, tile)
                        back = row_at(sent, (c - begin) * sent_size + LANES, 6 * pitch)
                        if t0 + count == lines:
                            zero_line(back, 0, 3 * pitch)
                        before = (c - begin) * scan + (t0 - b0) * pitch
                        strip_lines = Gradients(arriving, mine, weights, gx_room, sums)
                        scan_lines_back(
                            strip_lines,
                            scale,
                            scans,
                            before,
                            pitch,
                            back,
                            t0 == 0,
                            count,
                            length,
                            connection,
                            c == begin,
                            need_gates,
                        )
                        if need_x:
                            to = here if in_place else (c - begin) * plane
                            how = PUT if d == 0 else ADD
                            store_lines(gx, 0, pitch, how, fold, to, out_walk, t0, count, length, NO_WINNER, 0, 0, tile)
                    if need_gates and not in_result:
                        for j in range(connection):
                            at, to = j * strip * pitch, to_gates + j * groups * plane
                            store_lines(
                                gg, at, pitch, PUT, grad_gates, to, out_walk, t0, count, length, NO_WINNER, 0, 0, tile
                            )
            kept_at += (lines + block - 1) // block * length
        if need_x:
            for c in range(begin, end):
                to = (n * channels + c) * plane
                finish_plane(grad_x, to, fold, to if in_place else (c - begin) * plane, plane, state.type(1))


@njit(**JIT)
def add_parts(parts, total, first, last):
    """Elements `first` to `last` of the sum of equally large parts, added up in their order."""
    for i in range(first, last):
        element = parts[i]
        for part in range(1, parts.size // total.size):
            element += parts[part * total.size + i]
        total[i] = narrow(element, total)
