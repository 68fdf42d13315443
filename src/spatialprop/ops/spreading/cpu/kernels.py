"""The CPU kernels of `spread`: the equations of naive.py over a range of rows, sixteen pixels at a time.

The rows of maps have margins of zeros at both ends, as wide as the farthest neighbour and never written, so that
columns need no test. Rows do: neighbours above or below the image are left out of the sum.

Weights are stored by row, then by vector of sixteen pixels, then by neighbour: they are read once from end to end, and
each part stays in the cache while all channels use it. To the left and right of the image they are zero.
"""

from typing import NamedTuple

import numpy as np

from spatialprop.ops.machine.halves import narrow, widen, widen_row
from spatialprop.ops.machine.jit import compiled
from spatialprop.ops.machine.vectors import LANES, load, multiply_add, padded, row_at, splat, store, store_lanes


class Layout(NamedTuple):
    """The layout of maps in the buffers."""

    channels: int
    height: int
    width: int
    margin: int  # elements before the first pixel of a row
    pitch: int  # elements from row to row


@compiled
def _load_row(target, at, source, start, step, length):
    """Load the elements of a row, `step` apart, in the state's type."""
    if step == 1:
        widen_row(target, at, source, start, length)
    else:
        for j in range(length):
            target[at + j] = widen(source[start + j * step])


@compiled
def load_maps(maps, layout, source, strides, first, last):
    """Load rows `first` to `last` of (N, C, H), from any strides."""
    for row in range(first, last):
        plane, i = divmod(row, layout.height)
        n, c = divmod(plane, layout.channels)
        start = n * strides[0] + c * strides[1] + i * strides[2]
        _load_row(maps, row * layout.pitch + layout.margin, source, start, strides[3], layout.width)


@compiled
def store_maps(out, layout, maps, first, last):
    for row in range(first, last):
        target = row_at(out, row * layout.width, layout.width)
        source = row_at(maps, row * layout.pitch + layout.margin, layout.width)
        for j in range(layout.width):
            target[j] = narrow(source[j], out)


@compiled
def clear_margins(maps, layout, first, last):
    for row in range(first, last):
        start = row * layout.pitch
        maps[start : start + layout.margin] = 0
        maps[start + layout.margin + layout.width : start + layout.pitch] = 0


@compiled
def _columns_inside(layout, offset):
    """Return the range of columns whose neighbour at this column offset is inside the image."""
    return max(0, -offset), min(layout.width, layout.width - offset)


@compiled
def _load_affinities(line, layout, affinity, start, step, offset):
    """Load a row of affinities to neighbours at this column offset, as zero where the neighbour is outside."""
    begin, end = _columns_inside(layout, offset)
    line[:] = 0
    _load_row(line, begin, affinity, start + begin * step, step, end - begin)
    return begin, end


@compiled
def find_scales(scales, layout, affinity, strides, neighbours, first, last):
    """Compute 1 / (1 + the sum of affinities to neighbours inside), by rows (N, H)."""
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
                _load_affinities(line, layout, affinity, start, strides[3], right)
                for j in range(0, width, LANES):
                    store(scale, j, load(scale, j) + load(line, j))
        for j in range(width):
            scale[j] = one / scale[j]


@compiled
def find_weights(weights, layout, scales, affinity, strides, neighbours, transposed, first, last):
    """Compute the weight of each neighbour in a pixel's average or, `transposed`, of the pixel in its neighbour's."""
    count, width = neighbours.shape[0], padded(layout.width)
    line = np.empty(width + LANES, weights.dtype)
    for row in range(first, last):
        n, i = divmod(row, layout.height)
        for k in range(count):
            plane, down, right = neighbours[k]
            if 0 <= i + down < layout.height:
                start = n * strides[0] + plane * strides[1] + i * strides[2]
                scale = row * width
                if transposed:  # take the neighbour's affinity and scale
                    start += down * strides[2] + right * strides[3]
                    scale += down * width + right
                begin, end = _load_affinities(line, layout, affinity, start, strides[3], right)
                for j in range(begin, end):
                    line[j] *= scales[scale + j]
                for j in range(0, width, LANES):
                    store(weights, (row * width + j) * count + k * LANES, load(line, j))


@compiled
def _rows_inside(weight_at, shift, layout, neighbours, i):
    """List the neighbours of row i inside the image: where their weights are, and how far away they are in a map."""
    count = 0
    for k in range(neighbours.shape[0]):
        _, down, right = neighbours[k]
        if 0 <= i + down < layout.height:
            weight_at[count] = k * LANES
            shift[count] = down * layout.pitch + right
            count += 1
    return count


@compiled
def step(target, source, weights, scales, layout, neighbours, first, last):
    """Compute rows `first` to `last` of (N, H): target = scale * source + the sum of weight * neighbour."""
    count, width = neighbours.shape[0], padded(layout.width)
    weight_at, shift = np.empty(count, np.int64), np.empty(count, np.int64)
    plane = layout.height * layout.pitch
    for row in range(first, last):
        n, i = divmod(row, layout.height)
        count_inside = _rows_inside(weight_at, shift, layout, neighbours, i)
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
                for k in range(count_inside):
                    w, at = load(weights, weight + weight_at[k]), start + shift[k]
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
                for k in range(count_inside):
                    a = multiply_add(load(weights, weight + weight_at[k]), load(source, start + shift[k]), a)
                store_lanes(target, start, a, lanes)
                start += plane


@compiled
def add_gradients(gradients, grad, before, after, scales, layout, neighbours, fresh, first, last):
    """Add the affinity gradients of one step: scale * the sum over channels of grad * (neighbour before - after)."""
    count, width = neighbours.shape[0], padded(layout.width)
    weight_at, shift = np.empty(count, np.int64), np.empty(count, np.int64)
    plane = layout.height * layout.pitch
    zero = splat(gradients.dtype.type(0))
    for row in range(first, last):
        n, i = divmod(row, layout.height)
        count_inside = _rows_inside(weight_at, shift, layout, neighbours, i)
        for j in range(0, layout.width, LANES):
            scale = load(scales, row * width + j)
            to = (row * width + j) * count
            start = n * layout.channels * plane + i * layout.pitch + layout.margin + j
            end = start + layout.channels * plane
            k = 0
            while k + 3 < count_inside:  # four neighbours at a time share what is loaded of grad and after
                a, b, c, d = zero, zero, zero, zero
                for at in range(start, end, plane):
                    upstream, own = load(grad, at), load(after, at)
                    a = multiply_add(upstream, load(before, at + shift[k]) - own, a)
                    b = multiply_add(upstream, load(before, at + shift[k + 1]) - own, b)
                    c = multiply_add(upstream, load(before, at + shift[k + 2]) - own, c)
                    d = multiply_add(upstream, load(before, at + shift[k + 3]) - own, d)
                _add(gradients, to + weight_at[k], scale * a, fresh)
                _add(gradients, to + weight_at[k + 1], scale * b, fresh)
                _add(gradients, to + weight_at[k + 2], scale * c, fresh)
                _add(gradients, to + weight_at[k + 3], scale * d, fresh)
                k += 4
            while k < count_inside:
                a = zero
                for at in range(start, end, plane):
                    a = multiply_add(load(grad, at), load(before, at + shift[k]) - load(after, at), a)
                _add(gradients, to + weight_at[k], scale * a, fresh)
                k += 1


@compiled
def _add(sums, at, vector, fresh):
    store(sums, at, vector if fresh else load(sums, at) + vector)


@compiled
def store_gradients(out, layout, gradients, neighbours, planes, first, last):
    """Store rows `first` to `last` of (N, H) of the gradient (N, P, H, W), zero where the neighbour is outside."""
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
                begin, end = _columns_inside(layout, right)
                for j in range(begin, end):
                    target[j] = narrow(gradient[(j // LANES * count + k) * LANES + j % LANES], out)
