"""How the CPU kernels move lines between memory and cache: where they lie, transposition, merging.

A scan works on lines: rows for "down" and "up", columns for "right" and "left". Rows of the state's type are used where
they lie. Columns are brought into cache as rows by transposing 8 x 8 tiles in registers, halves by widening them.

Buffered lines are padded to whole vectors, so that whole vectors can be written. What lies in the padding does not
matter, but in lines of the scan for the elements right before and right behind, which its ends hear: those are zero.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload

from spatialprop.ops.machine.halves import narrow, widen, widen_row
from spatialprop.ops.machine.vectors import (
    INLINE,
    JIT,
    LANES,
    TILE,
    load,
    load_lanes,
    prefetch,
    row_at,
    splat,
    store,
    store_lanes,
    transpose_tile,
    where_better,
    where_equal,
)

# These are of NumPy's types: a function that is given a literal of Python's is compiled for it once more.
ZERO, ONE = np.int64(0), np.int64(1)
# Whether rows lie so far away that they must be asked for ahead.
NEAR, FAR = np.False_, np.True_
# How a scan joins what earlier directions left.
PUT, ADD, MAX = np.int64(0), np.int64(1), np.int64(2)
# Rows between asking for a piece of a column and using it: the processor's own prefetching does not follow columns.
AHEAD = 3 * TILE


class Lines(NamedTuple):
    """Where lines of a map lie, or those of all gates of a direction: line n starts at element at + n * step.

    Kernels take the array out before they loop: every time counts a reference.
    """

    array: Any
    at: int
    step: int
    apart: int  # how far further on the gates of the next connection lie


class Strip(NamedTuple):
    """Lines t0 to t0 + count of a plane, as a scan visits them."""

    walk: tuple[int, int, int]  # what `plane_walk` says of the plane
    t0: int
    count: int
    length: int


class Winners(NamedTuple):
    """Which direction won in a contiguous plane; the array is empty where that does not matter."""

    array: Any
    plane: int  # where it begins
    mark: Any  # the direction at hand


@njit(**INLINE)
def line_of(lines, n):
    return lines.at + n * lines.step


@njit(**INLINE)
def padded(length):
    return (length + LANES - 1) // LANES * LANES


@njit(**JIT)
def pitch_of(length):
    """Distance between buffered lines.

    At least one vector lies between them that stays zero, and the count of vectors is odd: at a power of two all lines
    of a tile would share a few sets of the cache.
    """
    return (length // LANES // 2 * 2 + 3) * LANES


@njit(**JIT)
def keep_won(buffer, winner, won_start, step, count, length, mark):
    """Zero the buffered rows wherever another direction than `mark` won."""
    rows = buffer.array
    for s in range(count):
        at, place = line_of(buffer, s), won_start + s * step
        for i in range(0, length, LANES):
            marks = load_lanes(winner, place + i, min(LANES, length - i))
            store(rows, at + i, where_equal(marks, mark, load(rows, at + i)))


def bring_rows(buffer, source, start, step, count, length, winner, won_start, mark):
    """Fill a buffer with rows in the state's type.

    Where `winner` is not empty, its rows lie as those of the source do, from `won_start` on, and only what direction
    `mark` won is brought. Rows that have that type already, and are not masked so, need not be brought.
    """


@overload(bring_rows)
def _(buffer, source, start, step, count, length, winner, won_start, mark):
    if source.dtype == buffer.types[0].dtype:

        def won_rows(buffer, source, start, step, count, length, winner, won_start, mark):
            rows = buffer.array
            for s in range(count):
                at, place, won_place = line_of(buffer, s), start + s * step, won_start + s * step
                for i in range(0, length, LANES):
                    lanes = min(LANES, length - i)
                    marks, row = load_lanes(winner, won_place + i, lanes), load_lanes(source, place + i, lanes)
                    store(rows, at + i, where_equal(marks, mark, row))

        return won_rows

    def widen_rows(buffer, source, start, step, count, length, winner, won_start, mark):
        rows = buffer.array
        for s in range(count):
            widen_row(rows, line_of(buffer, s), source, start + s * step, length)
        if winner.size:
            keep_won(buffer, winner, won_start, step, count, length, mark)

    return widen_rows


def find_rows(buffer, source, start, step, count, length, winner, won_start, mark):
    """Where rows lie in the state's type: in the source if that is theirs, else in the buffer, which is filled."""


@overload(find_rows)
def _(buffer, source, start, step, count, length, winner, won_start, mark):
    def in_place_or_brought(buffer, source, start, step, count, length, winner, won_start, mark):
        if winner.size == 0:
            return Lines(source, start, step, 0)
        bring_rows(buffer, source, start, step, count, length, winner, won_start, mark)
        return buffer

    def brought(buffer, source, start, step, count, length, winner, won_start, mark):
        bring_rows(buffer, source, start, step, count, length, winner, won_start, mark)
        return buffer

    return in_place_or_brought if source.dtype == buffer.types[0].dtype else brought


@njit(**JIT)
def transpose_lines(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far):
    """target[j, i] = source[i, j] for i < rows, j < columns; with step -1 columns run to the left from `offset`."""
    whole_rows, whole_columns = rows - rows % TILE, columns - columns % TILE
    shift = 0 if step == 1 else TILE - 1
    for i in range(0, whole_rows, TILE):
        for j in range(0, whole_columns, TILE):
            if far and j % LANES == 0:
                for ahead in range(i + AHEAD, i + AHEAD + TILE):
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


def turn_rows(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far):
    """`transpose_lines` if both arrays are of one type, else False."""


@overload(turn_rows)
def _(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far):
    if source.dtype != target.dtype:
        return lambda source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far: False

    def turn(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far):
        transpose_lines(source, offset, pitch, step, target, target_offset, target_pitch, rows, columns, far)
        return True

    return turn


@njit(**JIT)
def plane_walk(direction, row, column, height, width):
    """How a scan walks a plane: offset of the first line, step from line to line, step from pixel to pixel."""
    if direction == 0:
        return 0, column, row
    if direction == 1:
        return 0, row, column
    if direction == 2:
        return (width - 1) * column, -column, row
    return (height - 1) * row, -row, column


@njit(**JIT)
def ask_ahead(array, start, step, rows, count):
    for i in range(AHEAD, AHEAD + rows):
        for j in range(0, count, LANES):
            prefetch(array, start + i * step + j)


@njit(**JIT)
def find_lines(buffer, source, plane, strip, winners, tile):
    """A strip of the plane at offset `plane`, as `find_rows` has it; winners, if any, lie as the plane does."""
    (first, step, pixel), t0, count, length = strip
    winner, won_plane, mark = winners
    offset, won_offset = plane + first + t0 * step, won_plane + first + t0 * step
    if pixel == 1:
        return find_rows(buffer, source, offset, step, count, length, winner, won_offset, mark)
    target, at, pitch = buffer.array, buffer.at, buffer.step
    if step == 1 or step == -1:  # columns side by side
        if winner.size == 0 and turn_rows(source, offset, pixel, step, target, at, pitch, length, count, FAR):
            return buffer
        left = 0 if step == 1 else count - 1
        brought = Lines(tile, 0, padded(count), 0)
        for i in range(0, length, TILE):
            rows = min(TILE, length - i)
            start, won_start = offset + i * pixel - left, won_offset + i * pixel - left
            ask_ahead(source, start, pixel, rows, count)
            bring_rows(brought, source, start, pixel, rows, count, winner, won_start, mark)
            transpose_lines(tile, left, brought.step, step, target, at + i, pitch, rows, count, NEAR)
    else:  # scattered, as in channels-last maps
        for s in range(count):
            for i in range(length):
                target[at + s * pitch + i] = widen(source[offset + s * step + i * pixel])
    return buffer


@njit(**JIT)
def copy_plane(target, at, source, start, row, column, height, width):
    """Make a plane contiguous whose pixels lie `row` and `column` apart."""
    for i in range(height):
        for j in range(width):
            target[at + i * width + j] = source[start + i * row + j * column]


def room_for_rows(buffer, target, start, step):
    """Where to write rows that are to be put into the result: there, if it has the state's type, else `buffer`."""


@overload(room_for_rows)
def _(buffer, target, start, step):
    if target.dtype == buffer.types[0].dtype:
        return lambda buffer, target, start, step: (Lines(target, start, step, 0), True)
    return lambda buffer, target, start, step: (buffer, False)


def join_rows(how, target, start, step, buffer, at, pitch, count, length, winner, won_at, mark):
    """Join buffered rows with rows of the result: put, add or keep the better, as `how` says."""


@overload(join_rows)
def _(how, target, start, step, buffer, at, pitch, count, length, winner, won_at, mark):
    if target.dtype != buffer.dtype:

        def narrow_rows(how, target, start, step, buffer, at, pitch, count, length, winner, won_at, mark):
            for s in range(count):  # halves are only ever put
                row, source = row_at(target, start + s * step, length), row_at(buffer, at + s * pitch, length)
                for i in range(length):
                    row[i] = narrow(source[i], target)

        return narrow_rows

    def join(how, target, start, step, buffer, at, pitch, count, length, winner, won_at, mark):
        for _ in range(count):
            for i in range(0, length, LANES):
                lanes = min(LANES, length - i)
                new = load(buffer, at + i)
                if how != PUT:
                    old = load_lanes(target, start + i, lanes)
                    if how == ADD:
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


@njit(**JIT)
def store_lines(lines, how, target, plane, strip, winners, tile):
    """Join buffered lines with a strip of the contiguous plane at offset `plane`; winners, if asked for, are kept."""
    buffer, at, pitch, _ = lines
    (first, step, pixel), t0, count, length = strip
    winner, won_plane, mark = winners.array, winners.plane, np.uint8(winners.mark)
    offset, won_offset = plane + first + t0 * step, won_plane + first + t0 * step
    if pixel == 1:
        join_rows(how, target, offset, step, buffer, at, pitch, count, length, winner, won_offset, mark)
        return
    left = 0 if step == 1 else count - 1
    width = padded(count)
    for i in range(0, length, TILE):
        rows = min(TILE, length - i)
        start = i * pixel - left
        ask_ahead(target, offset + start, pixel, rows, count)
        row, across = at + i + left * pitch, step * pitch
        put = how == PUT and winner.size == 0
        if not (put and turn_rows(buffer, row, across, ONE, target, offset + start, pixel, count, rows, NEAR)):
            transpose_lines(buffer, row, across, ONE, tile, ZERO, width, count, rows, NEAR)
            join_rows(how, target, offset + start, pixel, tile, 0, width, rows, count, winner, won_offset + start, mark)


def finish_plane(out, start, fold, at, size, scale):
    """Scale a merged plane and put it where the result belongs, if it is not there already."""


@overload(finish_plane)
def _(out, start, fold, at, size, scale):
    same = out.dtype == fold.dtype

    def finish(out, start, fold, at, size, scale):
        if same and scale == 1:
            return
        target, source = row_at(out, start, size), row_at(fold, at, size)
        for i in range(size):
            target[i] = narrow(source[i] * scale, out)

    return finish
