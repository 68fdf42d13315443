"""Normalise gates while they are scanned, and turn gradients of normalised gates into those of raw ones.

The sigmoid or tanh is taken once, when a strip of gates comes into the cache. The division by the sum of absolute
values is part of every scan, in registers: that costs less than to write the quotients and read them again.
"""

from math import factorial, log
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import types
from numba.extending import overload

from spatialprop.ops.machine.jit import inlined, inner
from spatialprop.ops.machine.vectors import (
    LANES,
    absolute,
    load_lanes,
    multiply_add,
    power_of_two,
    splat,
    store,
    store_lanes,
    where_at_most,
    where_positive,
)
from spatialprop.ops.normalization import shrinkage
from spatialprop.ops.propagation.cpu.lines import line_of

NOTHING, LOGISTIC, TANH = np.int64(0), np.int64(1), np.int64(2)


class Rule(NamedTuple):
    """How raw gates are normalised. Numbers are of the state's type."""

    normalizes: bool
    squashes: int  # first each gate by itself, with the logistic function or tanh
    divides: bool  # then all by the sum of their absolute values
    least: Any  # or, where that is at most this,
    otherwise: Any  # multiplied by this
    shrink: Any  # what the absolute values then sum to
    lowest: Any  # the logistic function of a smaller number is as good as zero


def rule_of(mode: str | None, dtype: torch.dtype) -> Rule:
    """Return the rule of a mode of `normalize_gates`, None for gates that stay as they are."""
    state = np.float64 if dtype == torch.float64 else np.float32
    one, shrink, lowest = state(1), state(shrinkage(dtype)), state(-708 if state is np.float64 else -87)
    divides = mode in ("clamp", "unit", "stochastic")
    squashes = {"stochastic": LOGISTIC, "sigmoid": LOGISTIC, "tanh": TANH}.get(mode or "", NOTHING)
    least = shrink if mode == "stochastic" else one
    if mode == "unit":
        least = np.nextafter(np.finfo(state).tiny, state(0))
    return Rule(mode is not None, squashes, divides, least, shrink if mode == "unit" else one, shrink, lowest)


@inlined
def _factor(total, rule):
    """What gates with this sum of absolute values are multiplied by. NaN spoils the whole pixel, as it should."""
    return where_at_most(total, splat(rule.least), splat(rule.otherwise), splat(rule.shrink) / total)


@inlined
def divide(gate, rule):
    return gate * _factor(absolute(gate), rule) if rule.divides else gate


@inlined
def divide_three(a, b, c, rule):
    if not rule.divides:
        return a, b, c
    factor = _factor(absolute(a) + absolute(b) + absolute(c), rule)
    return a * factor, b * factor, c * factor


def _exponential(x):
    """e to the power of numbers between the logarithms of the smallest and the largest one, not NaN."""


@overload(_exponential)
def _(x):
    wide = x.dtype == types.float64
    state = np.float64 if wide else np.float32
    shift = state(1.5 * 2.0 ** (52 if wide else 23))  # added, it rounds to whole numbers, which fill the low bits
    log2_of_e = state(1 / log(2))
    # The first part of log(2) has so few digits that whole multiples of it are exact.
    log_of_2, its_rest = state(0.693359375), state(log(2) - 0.693359375)
    series = tuple(state(1 / factorial(n)) for n in range(13 if wide else 7, -1, -1))

    def compute(x):
        shifted = multiply_add(x, splat(log2_of_e), splat(shift))
        whole = shifted - splat(shift)
        rest = x - whole * splat(log_of_2) - whole * splat(its_rest)
        value = splat(series[0])
        for coefficient in series[1:]:
            value = multiply_add(value, rest, splat(coefficient))
        return value * power_of_two(shifted)

    return compute


@inlined
def _logistic(x, one, lowest):
    size = absolute(x)
    below = (one - one) - size  # so that nothing overflows
    power = _exponential(where_at_most(lowest, below, below, lowest))
    upper = one / (one + power)
    value = where_positive(x, upper, power * upper)
    return where_at_most(size, size, value, x)  # NaN stays


@inner
def squash_lines(target, source, rule, count, length, connection):
    """Take the logistic function or tanh of the gates of a strip; `target` and `source` may be the same lines."""
    one = rule.shrink / rule.shrink
    for j in range(connection):
        for line in range(count):
            to, at = line_of(target, line) + j * target.apart, line_of(source, line) + j * source.apart
            if rule.squashes == LOGISTIC:
                for i in range(0, length, LANES):
                    gate = load_lanes(source.array, at + i, min(LANES, length - i))
                    store(target.array, to + i, _logistic(gate, splat(one), splat(rule.lowest)))
            else:
                for i in range(length):
                    target.array[to + i] = np.tanh(source.array[at + i])


@inlined
def _through_squashing(gradient, gate, rule):
    one = splat(rule.shrink / rule.shrink)
    if rule.squashes == LOGISTIC:
        return gradient * (gate * (one - gate))
    return gradient * (one - gate * gate) if rule.squashes == TANH else gradient


@inlined
def _total(gates, at, lanes, connection):
    total = absolute(load_lanes(gates.array, at, lanes))
    for j in range(1, connection):
        total = total + absolute(load_lanes(gates.array, at + j * gates.apart, lanes))
    return total


@inlined
def _gradient_of_total(grads, gates, to, at, lanes, connection, total, rule):
    """The sum of gradients times divided gates. The products of large gates, undivided, could overflow."""
    inverse = splat(rule.shrink / rule.shrink) / total
    towards = load_lanes(grads.array, to, lanes) * (load_lanes(gates.array, at, lanes) * inverse)
    for j in range(1, connection):
        gate = load_lanes(gates.array, at + j * gates.apart, lanes) * inverse
        towards = multiply_add(load_lanes(grads.array, to + j * grads.apart, lanes), gate, towards)
    return where_at_most(total, splat(rule.least), total - total, towards)


@inner
def differentiate_lines(grads, gates, rule, count, length, connection):
    """Turn the gradients of a strip's normalised gates into those of its raw gates, which are given as squashed."""
    for line in range(count):
        for i in range(0, length, LANES):
            lanes, to, at = min(LANES, length - i), line_of(grads, line) + i, line_of(gates, line) + i
            total = _total(gates, at, lanes, connection)
            factor = _factor(total, rule)
            towards = _gradient_of_total(grads, gates, to, at, lanes, connection, total, rule)
            for j in range(connection):
                gate = load_lanes(gates.array, at + j * gates.apart, lanes)
                gradient = load_lanes(grads.array, to + j * grads.apart, lanes)
                if rule.divides:
                    negative = where_positive(absolute(gate), gradient + towards, gradient)
                    gradient = where_positive(gate, gradient - towards, negative) * factor
                store_lanes(grads.array, to + j * grads.apart, _through_squashing(gradient, gate, rule), lanes)
