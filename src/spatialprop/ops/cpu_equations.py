"""naive.py's equations over buffered lines, forward and back, and the copies and zeros that lines need.

A strip's lines lie in rows 1 and up, `pitch` apart; row 0 is the line before. The gates of connection j lie `j * k`
further.
"""

from numba import njit

from spatialprop.ops.cpu_lines import padded
from spatialprop.ops.cpu_vectors import JIT, LANES, load, multiply_add, splat, store


@njit(**JIT)
def copy_line(target, to, source, at, length):
    for i in range(0, padded(length), LANES):
        store(target, to + i, load(source, at + i))
    target[to + length] = 0


@njit(**JIT)
def zero_line(target, at, length):
    for i in range(0, padded(length), LANES):
        store(target, at + i, splat(target.dtype.type(0)))
    target[at + length] = 0


@njit(**JIT)
def zero_outside(lines, k, pitch, t0, count, length, connection):
    """Zero what belongs to neighbours outside the image: gates on the way in, their gradients on the way out."""
    if t0 == 0:
        for j in range(connection):
            zero_line(lines, j * k + pitch, length)
    if connection == 3:
        for at in range(pitch, (count + 1) * pitch, pitch):
            lines[at] = 0
            lines[2 * k + at + length - 1] = 0


@njit(**JIT)
def one_way_lines(h, x, g, pitch, count, length):
    one = splat(g.dtype.type(1))
    for line in range(pitch, (count + 1) * pitch, pitch):
        for i in range(line, line + padded(length), LANES):
            gate = load(g, i)
            store(h, i, multiply_add(one - gate, load(x, i), gate * load(h, i - pitch)))


@njit(**JIT)
def three_way_lines(h, x, g, k, pitch, count, length):
    one = splat(g.dtype.type(1))
    for line in range(pitch, (count + 1) * pitch, pitch):
        for i in range(line, line + padded(length), LANES):
            a, b, c = load(g, i), load(g, i + k), load(g, i + 2 * k)
            above = i - pitch
            heard = multiply_add(a, load(h, above - 1), multiply_add(b, load(h, above), c * load(h, above + 1)))
            store(h, i, multiply_add(one - (a + b + c), load(x, i), heard))
        h[line + length] = 0  # beyond the end nothing is heard, not even a zero times an infinity


@njit(**JIT)
def scan_lines(h, x, gates, k, pitch, count, length, connection):
    if connection == 1:
        one_way_lines(h, x, gates, pitch, count, length)
    else:
        three_way_lines(h, x, gates, k, pitch, count, length)


@njit(**JIT)
def one_way_back(go, scale, h, x, g, m, gx, gg, pitch, count, length, fresh, need_gates):
    """Lines count .. 1 of a reverse scan. `m` is what the line scanned after sends back: gate times gradient."""
    one, factor = splat(g.dtype.type(1)), splat(scale)
    for line in range(count * pitch, 0, -pitch):
        for i in range(0, padded(length), LANES):
            at = line + i
            dh = multiply_add(factor, load(go, at), load(m, i))
            gate = load(g, at)
            store(m, i, gate * dh)
            store(gx, at, (one - gate) * dh)
            if need_gates:
                difference = load(h, at - pitch) - load(x, at)
                store(gg, at, dh * difference if fresh else multiply_add(dh, difference, load(gg, at)))


@njit(**JIT)
def three_way_back(go, scale, h, x, g, k, m, gx, gg, pitch, count, length, fresh, need_gates):
    """As above; `m` has two sets of three rows, one being read while the other is written."""
    one, factor = splat(g.dtype.type(1)), splat(scale)
    this, following = 0, 3 * pitch
    for line in range(count * pitch, 0, -pitch):
        for i in range(0, padded(length), LANES):
            at, back = line + i, this + i
            heard = load(m, back + 1) + load(m, back + pitch) + load(m, back + 2 * pitch - 1)
            dh = multiply_add(factor, load(go, at), heard)
            a, b, c = load(g, at), load(g, at + k), load(g, at + 2 * k)
            store(m, following + i, a * dh)
            store(m, following + pitch + i, b * dh)
            store(m, following + 2 * pitch + i, c * dh)
            store(gx, at, (one - (a + b + c)) * dh)
            if need_gates:
                own, above = load(x, at), at - pitch
                da, db, dc = load(h, above - 1) - own, load(h, above) - own, load(h, above + 1) - own
                store(gg, at, dh * da if fresh else multiply_add(dh, da, load(gg, at)))
                store(gg, at + k, dh * db if fresh else multiply_add(dh, db, load(gg, at + k)))
                store(gg, at + 2 * k, dh * dc if fresh else multiply_add(dh, dc, load(gg, at + 2 * k)))
        m[following + length] = 0
        this, following = following, this
    if this:  # leave what the next strip hears in the first set
        for row in range(0, 3 * pitch, pitch):
            copy_line(m, row, m, this + row, length)
