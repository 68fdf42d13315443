"""naive.py's equations over lines, forward and back.

Lines of inputs and results lie anywhere (`Lines`), in a tensor itself or buffered; those of the scan h are buffered,
`pitch` apart, with zeros right before and behind them. What would point outside the image is not even read: such gates
count as zero, and so do their gradients.
"""

from typing import NamedTuple

from numba import njit

from spatialprop.ops.machine.vectors import (
    INLINE,
    JIT,
    LANES,
    load,
    load_between,
    load_lanes,
    multiply_add,
    splat,
    store,
    store_lanes,
)
from spatialprop.ops.propagation.cpu.lines import ZERO, Lines, line_of


@njit(**JIT)
def copy_line(target, to, source, at, length):
    for i in range(0, length, LANES):
        lanes = min(LANES, length - i)
        store_lanes(target, to + i, load_lanes(source, at + i, lanes), lanes)


@njit(**JIT)
def zero_line(target, at, length):
    for i in range(at, at + length):
        target[i] = 0


@njit(**INLINE)
def three_gates(g, k, at, i, length):
    """The gates of sixteen pixels from pixel i on; zeros where there is no pixel or no neighbour."""
    at, rest = at + i, length - i
    if i > 0 and rest > LANES:
        return load(g, at), load(g, at + k), load(g, at + 2 * k)
    lanes = min(LANES, rest)
    before = load_between(g, at, 0 if i else 1, lanes)
    behind = load_between(g, at + 2 * k, 0, min(LANES, rest - 1))
    return before, load_lanes(g, at + k, lanes), behind


@njit(**JIT)
def one_way_line(h, to, before, x, own, gates, gate, length):
    xs, gs = x.array, gates.array
    for i in range(0, length, LANES):
        lanes = min(LANES, length - i)
        mine = load_lanes(xs, own + i, lanes)
        store(h, to + i, multiply_add(load_lanes(gs, gate + i, lanes), load(h, before + i) - mine, mine))


@njit(**JIT)
def three_way_line(h, to, before, x, own, gates, gate, length):
    xs, gs, k = x.array, gates.array, gates.apart
    for i in range(0, length, LANES):
        a, b, c = three_gates(gs, k, gate, i, length)
        mine = load_lanes(xs, own + i, min(LANES, length - i))
        above = before + i
        value = multiply_add(a, load(h, above - 1) - mine, mine)
        value = multiply_add(b, load(h, above) - mine, value)
        store(h, to + i, multiply_add(c, load(h, above + 1) - mine, value))
    h[to + length] = 0  # beyond the end: a gate of zero must not meet an infinity there


@njit(**JIT)
def scan_lines(h, before, pitch, x, gates, begins, count, length, connection):
    """Scan `count` lines into the rows of h behind that at `before`, which is the line visited before, if any."""
    for line in range(count):
        to = before + pitch
        own, gate = line_of(x, line), line_of(gates, line)
        if begins and line == 0:
            copy_line(h, to, x.array, own, length)
            h[to + length] = 0
        elif connection == 1:
            one_way_line(h, to, before, x, own, gates, gate, length)
        else:
            three_way_line(h, to, before, x, own, gates, gate, length)
        before = to


class Gradients(NamedTuple):
    """Lines that a reverse scan reads and writes."""

    arriving: Lines
    x: Lines
    gates: Lines
    grad_x: Lines
    grad_gates: Lines


@njit(**INLINE)
def add_product(sums, at, left, right, fresh, lanes):
    """Begin a sum of products, or go on with it, in the first `lanes` of a vector."""
    product = left * right if fresh else multiply_add(left, right, load_lanes(sums, at, lanes))
    store_lanes(sums, at, product, lanes)


@njit(**JIT)
def first_line_back(to, scale, m, pitch, length, connection, need_gates):
    """The line visited first, which hears nobody: all of its gradient is its own."""
    factor, es, gxs = splat(scale), to.arriving.array, to.grad_x.array
    for i in range(0, length, LANES):
        sent = load(m, i)
        if connection == 3:
            sent = load(m, i + 1) + load(m, i + pitch) + load(m, i + 2 * pitch - 1)
        arriving = load_lanes(es, to.arriving.at + i, min(LANES, length - i))
        store(gxs, to.grad_x.at + i, multiply_add(factor, arriving, sent))
    if need_gates:
        for j in range(connection):
            zero_line(to.grad_gates.array, to.grad_gates.at + j * to.grad_gates.apart, length)


@njit(**JIT)
def one_way_back(to, line, scale, h, before, m, length, fresh, need_gates):
    """One line of a reverse scan. `m` is what the line scanned after sends back: gate times gradient."""
    one, factor = splat(h.dtype.type(1)), splat(scale)
    arriving, own, gate = line_of(to.arriving, line), line_of(to.x, line), line_of(to.gates, line)
    gx, gg = line_of(to.grad_x, line), line_of(to.grad_gates, line)
    es, xs, gs, gxs, sums = to.arriving.array, to.x.array, to.gates.array, to.grad_x.array, to.grad_gates.array
    for i in range(0, length, LANES):
        lanes = min(LANES, length - i)
        dh = multiply_add(factor, load_lanes(es, arriving + i, lanes), load(m, i))
        g = load_lanes(gs, gate + i, lanes)
        store(m, i, g * dh)
        store(gxs, gx + i, (one - g) * dh)
        if need_gates:
            difference = load(h, before + i) - load_lanes(xs, own + i, lanes)
            add_product(sums, gg + i, dh, difference, fresh, lanes)


@njit(**JIT)
def three_way_back(to, line, scale, h, before, m, this, following, pitch, length, fresh, need_gates):
    """As above; `m` has two sets of three rows: one that is heard, and one that `following` lines will hear."""
    one, factor = splat(h.dtype.type(1)), splat(scale)
    arriving, own, gate = line_of(to.arriving, line), line_of(to.x, line), line_of(to.gates, line)
    gx, gg, k = line_of(to.grad_x, line), line_of(to.grad_gates, line), to.grad_gates.apart
    es, xs, gs, gxs, sums = to.arriving.array, to.x.array, to.gates.array, to.grad_x.array, to.grad_gates.array
    for i in range(0, length, LANES):
        lanes = min(LANES, length - i)
        back, send, above = this + i, following + i, before + i
        sent = load(m, back + 1) + load(m, back + pitch) + load(m, back + 2 * pitch - 1)
        dh = multiply_add(factor, load_lanes(es, arriving + i, lanes), sent)
        a, b, c = three_gates(gs, to.gates.apart, gate, i, length)
        store(m, send, a * dh)
        store(m, send + pitch, b * dh)
        store(m, send + 2 * pitch, c * dh)
        store(gxs, gx + i, (one - (a + b + c)) * dh)
        if need_gates:
            mine = load_lanes(xs, own + i, lanes)
            add_product(sums, gg + i, dh, load(h, above - 1) - mine, fresh, lanes)
            add_product(sums, gg + i + k, dh, load(h, above) - mine, fresh, lanes)
            add_product(sums, gg + i + 2 * k, dh, load(h, above + 1) - mine, fresh, lanes)
    m[following + length] = 0
    if need_gates:
        sums[gg] = 0
        sums[gg + 2 * k + length - 1] = 0


@njit(**JIT)
def scan_lines_back(to, scale, h, before, pitch, m, begins, count, length, connection, fresh, need_gates):
    """`count` lines of a reverse scan, the last one first; the line of h before them, if any, lies at `before`.

    `fresh` says whether the gradients of gates begin here or go on with the sums of other channels.
    """
    this, following = ZERO, 3 * pitch
    for line in range(count - 1, -1 if not begins else 0, -1):
        above = before + line * pitch
        if connection == 1:
            one_way_back(to, line, scale, h, above, m, length, fresh, need_gates)
        else:
            three_way_back(to, line, scale, h, above, m, this, following, pitch, length, fresh, need_gates)
            this, following = following, this
    if this:  # leave what is heard next in the first set
        for row in range(0, 3 * pitch, pitch):
            copy_line(m, row, m, this + row, length)
    if begins:
        first_line_back(to, scale, m, pitch, length, connection, need_gates)
