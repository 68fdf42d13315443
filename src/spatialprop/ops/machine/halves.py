"""Conversion between the numbers that tensors store and the type of the state that kernels compute in.

Half-precision numbers are passed as 16-bit integers, since Numba has neither: int16 for bfloat16, uint16 for float16.
"""

import numpy as np
from numba import types
from numba.extending import overload

from spatialprop.ops.machine.jit import inlined, kernel_part
from spatialprop.ops.machine.vectors import bits_of, float_bits, row_at


@kernel_part
def _widen_bfloat16(coded):
    return float_bits(np.uint32(np.uint16(coded)) << np.uint32(16))


@kernel_part
def _narrow_bfloat16(value):
    bits = bits_of(value)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))  # to nearest, ties to even
    kept = bits | np.uint32(0x400000) if value != value else rounded  # rounding must not carry a NaN to infinity
    return np.int16(kept >> np.uint32(16))


@kernel_part
def _widen_float16(coded):
    bits = np.uint32(coded)
    sign = (bits & np.uint32(0x8000)) << np.uint32(16)
    magnitude = (bits & np.uint32(0x7FFF)) << np.uint32(13)
    exponent = magnitude & np.uint32(0x0F800000)
    normal = magnitude + np.uint32((127 - 15) << 23)
    special = normal + np.uint32((128 - 16) << 23)  # infinity and NaN
    # A subnormal is its integer times 2**-24.
    subnormal = bits_of(np.float32(np.int32(bits & np.uint32(0x7FFF))) * np.float32(2.0**-24))
    finite = normal if exponent != 0 else subnormal
    return float_bits(sign | (special if exponent == np.uint32(0x0F800000) else finite))


@kernel_part
def _narrow_float16(value):
    bits = bits_of(value)
    sign = (bits >> np.uint32(16)) & np.uint32(0x8000)
    magnitude = bits & np.uint32(0x7FFFFFFF)
    # To nearest, ties to even; a carry into the exponent, up to infinity, is what rounding asks for.
    rounded = magnitude + np.uint32(0xFFF) + ((magnitude >> np.uint32(13)) & np.uint32(1))
    normal = (rounded - np.uint32((127 - 15) << 23)) >> np.uint32(13)
    # Below 2**-14 the last place is worth 2**-24: adding 0.5 makes that the last place of the float32.
    subnormal = bits_of(float_bits(magnitude) + np.float32(0.5)) - np.uint32(0x3F000000)
    small = normal if magnitude >= np.uint32(113 << 23) else subnormal
    finite = small if magnitude < np.uint32(0x477FF000) else np.uint32(0x7C00)
    return np.uint16(sign | (finite if magnitude <= np.uint32(0x7F800000) else np.uint32(0x7E00)))


def widen(value):
    """Convert a stored number to the state's type."""


def narrow(value, target):
    """Convert a number of the state's type to what the array `target` stores."""


@overload(widen, inline="always")
def _(value):
    if value == types.int16:
        return lambda value: _widen_bfloat16(value)
    if value == types.uint16:
        return lambda value: _widen_float16(value)
    return lambda value: value


@overload(narrow, inline="always")
def _(value, target):
    if target.dtype == types.int16:
        return lambda value, target: _narrow_bfloat16(value)
    if target.dtype == types.uint16:
        return lambda value, target: _narrow_float16(value)
    return lambda value, target: value


@inlined
def widen_row(target, at, source, start, length):
    to, row = row_at(target, at, length), row_at(source, start, length)
    for i in range(length):
        to[i] = widen(row[i])
