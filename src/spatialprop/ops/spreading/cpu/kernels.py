"""The CPU kernels of `spread`: naive_spread.py's equations over a range of rows, sixteen pixels at a time.

Maps lie row by row with margins of zeros at both sides, as wide as the farthest neighbour and never written, so that
no column needs a test. Rows do: what lies above or below the image is left out of the sum.

Weights lie by row, then by vector of sixteen pixels, then by neighbour: one stream, read from end to end, and each part
of it stays in the cache while all channels use it. To the left and right of the image they are zero; above and below
there are none.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from spatialprop.ops.machine.halves import narrow, widen, widen_row
from spatialprop.ops.machine.vectors import JIT, LANES, load, multiply_add, row_at, splat, store, store_lanes
from spatialprop.ops.propagation.cpu.lines import padded


class Layout(NamedTuple):
    """How maps lie in the buffers."""

    channels: int
    height: int
    width: int
    margin: int  # elements before the first pixel of a row
    pitch: int  # elements from row to row


@njit(**JIT)
def load_row(target, at, source, start, step, length):
    """Elements of a row, `step` apart, in the state's type."""
    if step == 1:
        widen_row(target, at, source, start, length)
    else:
        for j in range(length):
            target[at + j] = widen(source[start + j * step])


@njit(**JIT)
def load_maps(maps, layout, source, strides, first, last):
    """Rows `first` to `last` of (N, C, H), from any strides."""
    for row in range(first, last):
        plane, i = divmod(row, layout.height)
        n, c = divmod(plane, layout.channels)
        start = n * strides[0] + c * strides[1] + i * strides[2]
        load_row(maps, row * layout.pitch + layout.margin, source, start, strides[3], layout.width)


@njit(**JIT)
def store_maps(out, layout, maps, first, last):
    for row in range(first, last):
        target = row_at(out, row * layout.width, layout.width)
        source = row_at(maps, row * layout.pitch + layout.margin, layout.width)
        for j in range(layout.width):
            target[j] = narrow(source[j], out)


@njit(**JIT)
def clear_margins(maps, layout, first, last):
    for row in range(first, last):
        start = row * layout.pitch
        maps[start : start + layout.margin] = 0
        maps[start + layout.margin + layout.width : start + layout.pitch] = 0


@njit(**JIT)
def columns_inside(layout, offset):
    """The columns, first to last, whose neighbour at this column offset lies inside the image."""
    return max(0, -offset), min(layout.width, layout.width - offset)


@njit(**JIT)
def load_affinities(line, layout, affinity, start, step, offset):
    """A row of affinities to neighbours at this column offset; zero where they lie outside, whatever is stored."""
    begin, end = columns_inside(layout, offset)
    line[:] = 0
    load_row(line, begin, affinity, start + begin * step, step, end - begin)
    return begin, end


@njit(**JIT)
def find_scales(scales, layout, affinity, strides, neighbours, first, last):
    """1 / (1 + the sum of affinities to neighbours inside), by rows (N, H)."""
    one, width = scales.dtype.type(1), padded(layout.width)
    line = np.empty(width + LANES, scales.dtype)
    for row in range(first, last):
        n, i = divmod(row, layout.height)
        scale = row_at(scales, row * width, width)
        scale[:] = one
        for k in range(neighbours.shape[0]):
            plane, down, right = neighbours[k]
            if 0 <= i + down < layout.height:
                start = n * strides[0] + plane * strides[1] + i * strides[2]
                load_affinities(line, layout, affinity, start, strides[3], right)
                for j in range(0, width, LANES):
                    store(scale, j, load(scale, j) + load(line, j))
        for j in range(width):
            scale[j] = one / scale[j]


@njit(**JIT)
def find_weights(weights, layout, scales, affinity, strides, neighbours, transposed, first, last):
    """How much each pixel hears each neighbour or, transposed, is heard by it: affinity times the hearer's scale."""
    count, width = neighbours.shape[0], padded(layout.width)
    line = np.empty(width + LANES, weights.dtype)
    for row in range(first, last):
        n, i = divmod(row, layout.height)
        for k in range(count):
            plane, down, right = neighbours[k]
            if 0 <= i + down < layout.height:
                start = n * strides[0] + plane * strides[1] + i * strides[2]
                scale = row * width
                if transposed:  # the neighbour hears
                    start += down * strides[2] + right * strides[3]
                    scale += down * width + right
                begin, end = load_affinities(line, layout, affinity, start, strides[3], right)
                for j in range(begin, end):
                    line[j] *= scales[scale + j]
                for j in range(0, width, LANES):
                    store(weights, (row * width + j) * count + k * LANES, load(line, j))


@njit(**JIT)
def rows_inside(places, shifts, layout, neighbours, i):
    """Lists the neighbours of a pixel in row i that lie in a row of the image: place among weights, and in maps."""
    count = 0
    for k in range(neighbours.shape[0]):
        _, down, right = neighbours[k]
        if 0 <= i + down < layout.height:
            places[count] = k * LANES
            shifts[count] = down * layout.pitch + right
            count += 1
    return count


@njit(**JIT)
def step(target, source, weights, scales, layout, neighbours, first, last):
    """Rows `first` to `last` of (N, H): target = scale * source + the sum of weight * neighbour."""
    count, width = neighbours.shape[0], padded(layout.width)
    places, shifts = np.empty(count, np.int64), np.empty(count, np.int64)
    plane = layout.height * layout.pitch
    for row in range(first, last):
        n, i = divmod(row, layout.height)
        heard = rows_inside(places, shifts, layout, neighbours, i)
        for j in range(0, layout.width, LANES):
            lanes = min(LANES, layout.width - j)
            scale = load(scales, row * width + j)
            weight = (row * width + j) * count
            start = n * layout.channels * plane + i * layout.pitch + layout.margin + j
            end = start + layout.channels * plane
            while start + 3 * plane < end:  # four channels at a time share what is loaded of the weights
                a = scale * load(source, start)
                b = scale * load(source, start + plane)
                c = scale * load(source, start + 2 * plane)
                d = scale * load(source, start + 3 * plane)
                for k in range(heard):
                    w, at = load(weights, weight + places[k]), start + shifts[k]
                    a = multiply_add(w, load(source, at), a)
                    b = multiply_add(w, load(source, at + plane), b)
                    c = multiply_add(w, load(source, at + 2 * plane), c)
                    d = multiply_add(w, load(source, at + 3 * plane), d)
                store_lanes(target, start, a, lanes)
                store_lanes(target, start + plane, b, lanes)
                store_lanes(target, start + 2 * plane, c, lanes)
                store_lanes(target, start + 3 * plane, d, lanes)
                start += 4 * plane
            while start < end:
                a = scale * load(source, start)
                for k in range(heard):
                    a = multiply_add(load(weights, weight + places[k]), load(source, start + shifts[k]), a)
                store_lanes(target, start, a, lanes)
                start += plane


@njit(**JIT)
def add_gradients(gradients, grad, before, after, scales, layout, neighbours, fresh, first, last):
    """Adds what one step says of the affinities: scale * the sum over channels of grad * (neighbour before - after)."""
    count, width = neighbours.shape[0], padded(layout.width)
    places, shifts = np.empty(count, np.int64), np.empty(count, np.int64)
    plane = layout.height * layout.pitch
    zero = splat(gradients.dtype.type(0))
    for row in range(first, last):
        n, i = divmod(row, layout.height)
        heard = rows_inside(places, shifts, layout, neighbours, i)
        for j in range(0, layout.width, LANES):
            scale = load(scales, row * width + j)
            to = (row * width + j) * count
            start = n * layout.channels * plane + i * layout.pitch + layout.margin + j
            end = start + layout.channels * plane
            k = 0
            while k + 3 < heard:  # four neighbours at a time share what is loaded of grad and after
                a, b, c, d = zero, zero, zero, zero
                for at in range(start, end, plane):
                    arrived, own = load(grad, at), load(after, at)
                    a = multiply_add(arrived, load(before, at + shifts[k]) - own, a)
                    b = multiply_add(arrived, load(before, at + shifts[k + 1]) - own, b)
                    c = multiply_add(arrived, load(before, at + shifts[k + 2]) - own, c)
                    d = multiply_add(arrived, load(before, at + shifts[k + 3]) - own, d)
                add(gradients, to + places[k], scale * a, fresh)
                add(gradients, to + places[k + 1], scale * b, fresh)
                add(gradients, to + places[k + 2], scale * c, fresh)
                add(gradients, to + places[k + 3], scale * d, fresh)
                k += 4
            while k < heard:
                a = zero
                for at in range(start, end, plane):
                    a = multiply_add(load(grad, at), load(before, at + shifts[k]) - load(after, at), a)
                add(gradients, to + places[k], scale * a, fresh)
                k += 1


@njit(**JIT)
def add(sums, at, vector, fresh):
    store(sums, at, vector if fresh else load(sums, at) + vector)


@njit(**JIT)
def store_gradients(out, layout, gradients, neighbours, planes, first, last):
    """Rows `first` to `last` of (N, H) of the gradient (N, P, H, W): zero where the neighbour lies outside."""
    count, width = neighbours.shape[0], padded(layout.width)
    for row in range(first, last):
        n, i = divmod(row, layout.height)
        for p in range(planes):
            start = ((n * planes + p) * layout.height + i) * layout.width
            out[start : start + layout.width] = 0
        gradient = row_at(gradients, row * count * width, count * width)
        for k in range(count):
            plane, down, right = neighbours[k]
            if 0 <= i + down < layout.height:
                target = row_at(out, ((n * planes + plane) * layout.height + i) * layout.width, layout.width)
                begin, end = columns_inside(layout, right)
                for j in range(begin, end):
                    target[j] = narrow(gradient[(j // LANES * count + k) * LANES + j % LANES], out)
