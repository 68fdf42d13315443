"""Lines of the CPU kernels: where they are, how they get into the cache, how results are merged.

A line is a row for "down" and "up", and a column for "right" and "left". Rows of the state's type are used where they
are. Columns become rows of a buffer, by transposing tiles of 8 x 8 in registers. Half-precision rows are widened into a
buffer.

Lines in a buffer are padded so that whole vectors can be written. The padding may hold anything, except in lines of a
scan: there the elements right before and right after a line are zero, since the pixels at its ends read them.
"""

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from spatialprop.ops.machine.halves import narrow, widen, widen_row
from spatialprop.ops.machine.jit import compiled, inlined, inner
from spatialprop.ops.machine.vectors import (
    LANES,
    TILE,
    load,
    load_lanes,
    padded,
    prefetch,
    row_at,
    splat,
    store,
    store_lanes,
    transpose_tile,
    where_better,
    where_equal,
)

# NumPy's types: a literal of Python's would make Numba compile the function once more for it.
ZERO, _ONE = np.int64(0), np.int64(1)
# Whether rows are in memory, so that it pays to prefetch them, or in cache.
_NEAR, _FAR = np.False_, np.True_
# How a direction is merged with those before it.
WRITE, ADD, MAX = np.int64(0), np.int64(1), np.int64(2)
# How many rows ahead columns are prefetched: the processor's own prefetching does not follow columns.
_AHEAD = 3 * TILE


class Lines(NamedTuple):
    """Lines in a flat array: line n starts at element at + n * step.

    Kernels take the array out of the tuple before they loop, since each access counts a reference.
    """

    array: Any
    at: int
    step: int
    apart: int  # for lines of gates: elements to the same line of the next gate


class Strip(NamedTuple):
    """Lines t0 to t0 + count of a plane, as a scan visits them."""

    walk: tuple[int, int, int]  # of the plane, from `plane_walk`
    t0: int
    count: int
    length: int


class Winners(NamedTuple):
    """Which direction has the maximum at each pixel of a contiguous plane; an empty array where nobody asks."""

    array: Any
    plane: int  # the element where it starts
    mark: Any  # the present direction


@inlined
def line_of(lines, n):
    return lines.at + n * lines.step


@inner
def pitch_of(length):
    """Elements from one line of a buffer to the next.

    At least one vector of zeros is between them. The number of vectors is odd, since at a power of two all lines of a
    tile would share a few sets of the cache.
    """
    return (length // LANES // 2 * 2 + 3) * LANES


@inner
def _mask_rows(buffer, winner, won_at, step, count, length, mark):
    """Zero the rows of a buffer wherever another direction than `mark` won."""
    rows = buffer.array
    for s in range(count):
        at, place = line_of(buffer, s), won_at + s * step
        for i in range(0, length, LANES):
            marks = load_lanes(winner, place + i, min(LANES, length - i))
            store(rows, at + i, where_equal(marks, mark, load(rows, at + i)))


def _fetch_rows(buffer, source, start, step, count, length, winner, won_at, mark):
    """Copy rows into a buffer, in the state's type.

    If `winner` is not empty, its rows start at `won_at`, as far apart as those of the source, and pixels that another
    direction than `mark` won become zero.
    """


@overload(_fetch_rows)
def _(buffer, source, start, step, count, length, winner, won_at, mark):
    if source.dtype == buffer.types[0].dtype:

        def masked_rows(buffer, source, start, step, count, length, winner, won_at, mark):
            rows = buffer.array
            for s in range(count):
                at, place, won_place = line_of(buffer, s), start + s * step, won_at + s * step
                for i in range(0, length, LANES):
                    lanes = min(LANES, length - i)
                    marks, row = load_lanes(winner, won_place + i, lanes), load_lanes(source, place + i, lanes)
                    store(rows, at + i, where_equal(marks, mark, row))

        return masked_rows

    def widen_rows(buffer, source, start, step, count, length, winner, won_at, mark):
        rows = buffer.array
        for s in range(count):
            widen_row(rows, line_of(buffer, s), source, start + s * step, length)
        if winner.size:
            _mask_rows(buffer, winner, won_at, step, count, length, mark)

    return widen_rows


def _find_rows(buffer, source, start, step, count, length, winner, won_at, mark):
    """Find rows of the state's type: those of the source if they have it and are not masked, else in the buffer."""


@overload(_find_rows)
def _(buffer, source, start, step, count, length, winner, won_at, mark):
    def in_place_or_brought(buffer, source, start, step, count, length, winner, won_at, mark):
        if winner.size == 0:
            return Lines(source, start, step, 0)
        _fetch_rows(buffer, source, start, step, count, length, winner, won_at, mark)
        return buffer

    def fetched(buffer, source, start, step, count, length, winner, won_at, mark):
        _fetch_rows(buffer, source, start, step, count, length, winner, won_at, mark)
        return buffer

    return in_place_or_brought if source.dtype == buffer.types[0].dtype else fetched


@compiled
def transpose_lines(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far):
    """target[j, i] = source[i, j] for i < rows, j < columns; with step -1 columns run to the left from `offset`."""
    whole_rows, whole_columns = rows - rows % TILE, columns - columns % TILE
    shift = 0 if step == 1 else TILE - 1
    for i in range(0, whole_rows, TILE):
        for j in range(0, whole_columns, TILE):
            if far and j % LANES == 0:
                for ahead in range(i + _AHEAD, i + _AHEAD + TILE):
                    prefetch(source, offset + ahead * pitch + step * j)
            transpose_tile(
                source,
                offset + i * pitch + step * (j + shift),
                pitch,
                target,
                target_offset + (j + shift) * target_pitch + i,
                step * target_pitch,
            )
        for ii in range(i, i + TILE):
            for j in range(whole_columns, columns):
                target[target_offset + j * target_pitch + ii] = source[offset + ii * pitch + step * j]
    for ii in range(whole_rows, rows):
        for j in range(columns):
            target[target_offset + j * target_pitch + ii] = source[offset + ii * pitch + step * j]


def _turn_lines(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far):
    """Call `transpose_lines` if both arrays have one type, and return whether they do."""


@overload(_turn_lines)
def _(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far):
    if source.dtype != target.dtype:
        return lambda source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far: False

    def turn(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far):
        transpose_lines(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far)
        return True

    return turn


@inner
def plane_walk(direction, row, column, height, width):
    """Return how a scan walks a plane: offset of its first line, step to the next line, step to the next pixel."""
    if direction == 0:
        return 0, column, row
    if direction == 1:
        return 0, row, column
    if direction == 2:
        return (width - 1) * column, -column, row
    return (height - 1) * row, -row, column


@inner
def _prefetch_rows(array, start, step, rows, count):
    for i in range(_AHEAD, _AHEAD + rows):
        for j in range(0, count, LANES):
            prefetch(array, start + i * step + j)


@inner
def find_lines(buffer, source, plane, strip, winners, tile):
    """Find a strip of the plane at offset `plane`, as `_find_rows` does; the plane of winners has the same strides."""
    (first, step, pixel), t0, count, length = strip
    winner, winner_plane, mark = winners
    offset, won = plane + first + t0 * step, winner_plane + first + t0 * step
    if pixel == 1:
        return _find_rows(buffer, source, offset, step, count, length, winner, won, mark)
    target, at, pitch = buffer.array, buffer.at, buffer.step
    if step == 1 or step == -1:  # columns side by side
        if winner.size == 0 and _turn_lines(source, offset, pixel, step, target, at, pitch, length, count, _FAR):
            return buffer
        left = 0 if step == 1 else count - 1
        fetched = Lines(tile, 0, padded(count), 0)
        for i in range(0, length, TILE):
            rows = min(TILE, length - i)
            start, won_at = offset + i * pixel - left, won + i * pixel - left
            _prefetch_rows(source, start, pixel, rows, count)
            _fetch_rows(fetched, source, start, pixel, rows, count, winner, won_at, mark)
            transpose_lines(tile, left, fetched.step, step, target, at + i, pitch, rows, count, _NEAR)
    else:  # scattered, as in channels-last maps
        for s in range(count):
            for i in range(length):
                target[at + s * pitch + i] = widen(source[offset + s * step + i * pixel])
    return buffer


@inner
def copy_plane(target, at, source, start, row, column, height, width):
    """Copy a plane of any strides into a contiguous one."""
    for i in range(height):
        for j in range(width):
            target[at + i * width + j] = source[start + i * row + j * column]


def rows_to_write(buffer, target, start, step):
    """Return where to write rows of a result, and whether that is the result itself, which takes the state's type."""


@overload(rows_to_write)
def _(buffer, target, start, step):
    if target.dtype == buffer.types[0].dtype:
        return lambda buffer, target, start, step: (Lines(target, start, step, 0), True)
    return lambda buffer, target, start, step: (buffer, False)


def _merge_rows(rule, target, start, step, buffer, at, pitch, count, length, winner, won_at, mark):
    """Write rows of a buffer to the result, add them to it, or take the maximum of both, as `rule` says."""


@overload(_merge_rows)
def _(rule, target, start, step, buffer, at, pitch, count, length, winner, won_at, mark):
    if target.dtype != buffer.dtype:

        def narrow_rows(rule, target, start, step, buffer, at, pitch, count, length, winner, won_at, mark):
            for s in range(count):  # half precision is never merged, so the rule is WRITE
                row, source = row_at(target, start + s * step, length), row_at(buffer, at + s * pitch, length)
                for i in range(length):
                    row[i] = narrow(source[i], target)

        return narrow_rows

    def join(rule, target, start, step, buffer, at, pitch, count, length, winner, won_at, mark):
        for _ in range(count):
            for i in range(0, length, LANES):
                lanes = min(LANES, length - i)
                new = load(buffer, at + i)
                if rule != WRITE:
                    old = load_lanes(target, start + i, lanes)
                    if rule == ADD:
                        new = old + new
                    else:
                        if winner.size:
                            marks = load_lanes(winner, won_at + i, lanes)
                            store_lanes(winner, won_at + i, where_better(new, old, splat(mark), marks), lanes)
                        new = where_better(new, old, new, old)
                elif winner.size:
                    store_lanes(winner, won_at + i, splat(mark), lanes)
                store_lanes(target, start + i, new, lanes)
            at += pitch
            start += step
            won_at += step

    return join


@inner
def store_lines(lines, rule, target, plane, strip, winners, tile):
    """Merge lines of a buffer into a strip of the contiguous plane at offset `plane`, and note the winners if asked."""
    buffer, at, pitch, _ = lines
    (first, step, pixel), t0, count, length = strip
    winner, winner_plane, mark = winners.array, winners.plane, np.uint8(winners.mark)
    offset, won = plane + first + t0 * step, winner_plane + first + t0 * step
    if pixel == 1:
        _merge_rows(rule, target, offset, step, buffer, at, pitch, count, length, winner, won, mark)
        return
    left = 0 if step == 1 else count - 1
    width = padded(count)
    for i in range(0, length, TILE):
        rows = min(TILE, length - i)
        start = i * pixel - left
        _prefetch_rows(target, offset + start, pixel, rows, count)
        row, across = at + i + left * pitch, step * pitch
        plain = rule == WRITE and winner.size == 0
        if not (plain and _turn_lines(buffer, row, across, _ONE, target, offset + start, pixel, count, rows, _NEAR)):
            transpose_lines(buffer, row, across, _ONE, tile, ZERO, width, count, rows, _NEAR)
            _merge_rows(rule, target, offset + start, pixel, tile, 0, width, rows, count, winner, won + start, mark)


def finish_plane(out, start, merged, at, size, scale):
    """Scale a merged plane and write it to the result, if it is not there already."""


@overload(finish_plane)
def _(out, start, merged, at, size, scale):
    same = out.dtype == merged.dtype

    def finish(out, start, merged, at, size, scale):
        if same and scale == 1:
            return
        target, source = row_at(out, start, size), row_at(merged, at, size)
        for i in range(size):
            target[i] = narrow(source[i] * scale, out)

    return finish
