"""The equations of naive.py and their gradients, line by line.

Lines of inputs and results are in a tensor itself or in a buffer (`Lines`). Lines of the scan h are in a buffer,
`pitch` elements apart, with a zero right before and right after each. Gates that point outside the image are not read:
they count as zero, and so do their gradients.
"""

from typing import NamedTuple

from spatialprop.ops.machine.jit import inlined, inner
from spatialprop.ops.machine.vectors import (
    LANES,
    keep_between,
    load,
    load_lanes,
    multiply_add,
    splat,
    store,
    store_lanes,
)
from spatialprop.ops.propagation.cpu.lines import ZERO, Lines, line_of
from spatialprop.ops.propagation.cpu.normalization import divide, divide_three


@inner
def copy_line(target, to, source, at, length):
    for i in range(0, length, LANES):
        lanes = min(LANES, length - i)
        store_lanes(target, to + i, load_lanes(source, at + i, lanes), lanes)


@inner
def zero_line(target, at, length):
    for i in range(at, at + length):
        target[i] = 0


@inlined
def _three_gates(g, k, at, i, length, rule):
    """Load and normalise the gates of sixteen pixels from pixel i on; zero outside the image."""
    at, rest = at + i, length - i
    if i > 0 and rest > LANES:
        return divide_three(load(g, at), load(g, at + k), load(g, at + 2 * k), rule)
    lanes = min(LANES, rest)
    before, level, after = divide_three(
        load_lanes(g, at, lanes), load_lanes(g, at + k, lanes), load_lanes(g, at + 2 * k, lanes), rule
    )
    after = keep_between(after, 0, min(LANES, rest - 1))
    return keep_between(before, 0 if i else 1, lanes), keep_between(level, 0, lanes), after


@inner
def _one_way_line(h, to, before, x, x_at, gates, gates_at, length, rule):
    xs, gs = x.array, gates.array
    for i in range(0, length, LANES):
        lanes = min(LANES, length - i)
        own = load_lanes(xs, x_at + i, lanes)
        g = divide(load_lanes(gs, gates_at + i, lanes), rule)
        store(h, to + i, multiply_add(g, load(h, before + i) - own, own))


@inner
def _three_way_line(h, to, before, x, x_at, gates, gates_at, length, rule):
    xs, gs, k = x.array, gates.array, gates.apart
    for i in range(0, length, LANES):
        a, b, c = _three_gates(gs, k, gates_at, i, length, rule)
        own = load_lanes(xs, x_at + i, min(LANES, length - i))
        above = before + i
        value = multiply_add(a, load(h, above - 1) - own, own)
        value = multiply_add(b, load(h, above) - own, value)
        store(h, to + i, multiply_add(c, load(h, above + 1) - own, value))
    h[to + length] = 0  # beyond the end: a gate of zero must not meet an infinity there


@inner
def scan_lines(h, before, pitch, x, gates, begins, count, length, connection, rule):
    """Scan `count` lines into the rows of h after the one at `before`, which holds the line visited before them.

    `begins` says that there is no such line: the first of these lines is the first of the scan.
    """
    for line in range(count):
        to = before + pitch
        x_at, gates_at = line_of(x, line), line_of(gates, line)
        if begins and line == 0:
            copy_line(h, to, x.array, x_at, length)
            h[to + length] = 0
        elif connection == 1:
            _one_way_line(h, to, before, x, x_at, gates, gates_at, length, rule)
        else:
            _three_way_line(h, to, before, x, x_at, gates, gates_at, length, rule)
        before = to


class BackwardLines(NamedTuple):
    """Lines that a backward scan reads and writes."""

    upstream: Lines
    x: Lines
    gates: Lines
    grad_x: Lines
    grad_gates: Lines


@inlined
def _add_product(sums, at, left, right, fresh, lanes):
    """Add a product to the first `lanes` sums at `at`, or start the sums with it if `fresh`."""
    product = left * right if fresh else multiply_add(left, right, load_lanes(sums, at, lanes))
    store_lanes(sums, at, product, lanes)


@inner
def _first_line_back(to, scale, carried, pitch, length, connection, need_gates):
    """The gradients of the first line of a scan, which has no neighbours: all of its gradient goes to its own x."""
    factor, upstreams, grad_xs = splat(scale), to.upstream.array, to.grad_x.array
    for i in range(0, length, LANES):
        received = load(carried, i)
        if connection == 3:
            received = load(carried, i + 1) + load(carried, i + pitch) + load(carried, i + 2 * pitch - 1)
        upstream = load_lanes(upstreams, to.upstream.at + i, min(LANES, length - i))
        store(grad_xs, to.grad_x.at + i, multiply_add(factor, upstream, received))
    if need_gates:
        for j in range(connection):
            zero_line(to.grad_gates.array, to.grad_gates.at + j * to.grad_gates.apart, length)


@inner
def _one_way_back(to, line, scale, h, before, carried, length, fresh, need_gates, rule):
    """One line of a backward scan.

    `carried` is a line of gate * dh: what the line visited after this one passes back, and then what this one does.
    """
    one, factor = splat(h.dtype.type(1)), splat(scale)
    upstream_at, x_at, gates_at = line_of(to.upstream, line), line_of(to.x, line), line_of(to.gates, line)
    grad_x_at, grad_gates_at = line_of(to.grad_x, line), line_of(to.grad_gates, line)
    upstreams, xs, gs = to.upstream.array, to.x.array, to.gates.array
    grad_xs, grad_gs = to.grad_x.array, to.grad_gates.array
    for i in range(0, length, LANES):
        lanes = min(LANES, length - i)
        dh = multiply_add(factor, load_lanes(upstreams, upstream_at + i, lanes), load(carried, i))
        g = divide(load_lanes(gs, gates_at + i, lanes), rule)
        store(carried, i, g * dh)
        store(grad_xs, grad_x_at + i, (one - g) * dh)
        if need_gates:
            difference = load(h, before + i) - load_lanes(xs, x_at + i, lanes)
            _add_product(grad_gs, grad_gates_at + i, dh, difference, fresh, lanes)


@inner
def _three_way_back(to, line, scale, h, before, carried, source, target, pitch, length, fresh, need_gates, rule):
    """As `_one_way_back`, with three lines of gate * dh: read at `source`, written at `target`."""
    one, factor = splat(h.dtype.type(1)), splat(scale)
    upstream_at, x_at, gates_at = line_of(to.upstream, line), line_of(to.x, line), line_of(to.gates, line)
    grad_x_at, grad_gates_at, k = line_of(to.grad_x, line), line_of(to.grad_gates, line), to.grad_gates.apart
    upstreams, xs, gs = to.upstream.array, to.x.array, to.gates.array
    grad_xs, grad_gs = to.grad_x.array, to.grad_gates.array
    for i in range(0, length, LANES):
        lanes = min(LANES, length - i)
        back, send, above = source + i, target + i, before + i
        received = load(carried, back + 1) + load(carried, back + pitch) + load(carried, back + 2 * pitch - 1)
        dh = multiply_add(factor, load_lanes(upstreams, upstream_at + i, lanes), received)
        a, b, c = _three_gates(gs, to.gates.apart, gates_at, i, length, rule)
        store(carried, send, a * dh)
        store(carried, send + pitch, b * dh)
        store(carried, send + 2 * pitch, c * dh)
        store(grad_xs, grad_x_at + i, (one - (a + b + c)) * dh)
        if need_gates:
            own = load_lanes(xs, x_at + i, lanes)
            _add_product(grad_gs, grad_gates_at + i, dh, load(h, above - 1) - own, fresh, lanes)
            _add_product(grad_gs, grad_gates_at + i + k, dh, load(h, above) - own, fresh, lanes)
            _add_product(grad_gs, grad_gates_at + i + 2 * k, dh, load(h, above + 1) - own, fresh, lanes)
    carried[target + length] = 0
    if need_gates:
        grad_gs[grad_gates_at] = 0
        grad_gs[grad_gates_at + 2 * k + length - 1] = 0


@inner
def scan_lines_back(to, scale, h, before, pitch, carried, begins, count, length, connection, fresh, need_gates, rule):
    """Scan `count` lines backward, the last one first; the line of h before them, if any, is at `before`.

    `fresh` says whether the sums of gate gradients start here; else they go on with those of other channels.
    """
    source, target = ZERO, 3 * pitch
    for line in range(count - 1, -1 if not begins else 0, -1):
        above = before + line * pitch
        if connection == 1:
            _one_way_back(to, line, scale, h, above, carried, length, fresh, need_gates, rule)
        else:
            _three_way_back(to, line, scale, h, above, carried, source, target, pitch, length, fresh, need_gates, rule)
            source, target = target, source
    if source:  # the next call reads the first three lines
        for row in range(0, 3 * pitch, pitch):
            copy_line(carried, row, carried, source + row, length)
    if begins:
        _first_line_back(to, scale, carried, pitch, length, connection, need_gates)
