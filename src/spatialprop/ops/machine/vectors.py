"""Vectors for Numba: sixteen numbers at a time, as LLVM IR for any processor.

Without them the compiler would guard each loop against overlapping arrays, and process the end of a line one number at
a time. On lines of 64 pixels that takes ten times as long as the arithmetic.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from spatialprop.ops.machine.jit import inlined

LANES = 16
TILE = 8


@inlined
def padded(length):
    """Round a length up to whole vectors."""
    return (length + LANES - 1) // LANES * LANES


class Vector(types.Type):
    """Sixteen numbers of one type, held in registers."""

    def __init__(self, dtype: types.Type) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, _vector_of(manager.lookup(vector.dtype).get_value_type()))


def _vector_of(element, lanes=LANES):
    return ir.VectorType(element, lanes)


def _place(context, builder, array_type, array, at, lanes=LANES):
    """Pointer to the vector that starts at element `at` of a flat array."""
    data = context.make_array(array_type)(context, builder, array).data
    element = context.get_value_type(array_type.dtype)
    return builder.bitcast(builder.gep(data, [at]), _vector_of(element, lanes).as_pointer())


def _itemsize(context, array_type):
    return context.get_abi_sizeof(context.get_value_type(array_type.dtype))


def _splat(builder, value):
    single = builder.insert_element(
        ir.Constant(_vector_of(value.type), ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
    )
    zeros = ir.Constant(_vector_of(ir.IntType(32)), [0] * LANES)
    return builder.shuffle_vector(single, single, zeros)


def _lanes(builder, skip, count):
    """True in the lanes from `skip` to before `count`."""
    narrow = ir.IntType(32)
    lanes = ir.Constant(_vector_of(narrow), list(range(LANES)))
    behind_first = builder.icmp_signed(">=", lanes, _splat(builder, builder.trunc(skip, narrow)))
    return builder.and_(behind_first, builder.icmp_signed("<", lanes, _splat(builder, builder.trunc(count, narrow))))


@intrinsic
def load(typingctx, array, at):
    """Read sixteen elements of a flat array from `at` on."""

    def build(context, builder, signature, args):
        return builder.load(_place(context, builder, array, *args), align=_itemsize(context, array))

    return Vector(array.dtype)(array, types.int64), build


@intrinsic
def store(typingctx, array, at, vector):
    """Write sixteen elements of a flat array from `at` on."""

    def build(context, builder, signature, args):
        builder.store(args[2], _place(context, builder, array, *args[:2]), align=_itemsize(context, array))
        return context.get_dummy_value()

    return types.void(array, types.int64, vector), build


def _call(builder, name, result, *arguments):
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [value.type for value in arguments]), name
    )
    return builder.call(function, arguments)


def _suffix(context, array):
    element = context.get_value_type(array.dtype)
    kind = {ir.FloatType(): "f32", ir.DoubleType(): "f64"}.get(element) or f"i{element.width}"
    return f"v{LANES}{kind}"


@intrinsic
def load_between(typingctx, array, at, skip, count):
    """Read as `load` does, but only lanes `skip` to `count`; the others are zero."""

    def build(context, builder, signature, args):
        vector = _vector_of(context.get_value_type(array.dtype))
        place = _place(context, builder, array, *args[:2])
        align = ir.Constant(ir.IntType(32), _itemsize(context, array))
        rest = ir.Constant(vector, None)
        name = f"llvm.masked.load.{_suffix(context, array)}.p0"
        return _call(builder, name, vector, place, align, _lanes(builder, *args[2:]), rest)

    return Vector(array.dtype)(array, types.int64, types.int64, types.int64), build


@inlined
def load_lanes(array, at, count):
    """Read the `count` (at most sixteen) elements from `at` on, and no others; the rest of the vector is zero."""
    return load(array, at) if count == LANES else load_between(array, at, 0, count)


@intrinsic
def _store_before(typingctx, array, at, vector, count):
    """Write as `store` does, but only the lanes before `count`."""

    def build(context, builder, signature, args):
        place = _place(context, builder, array, *args[:2])
        align = ir.Constant(ir.IntType(32), _itemsize(context, array))
        name = f"llvm.masked.store.{_suffix(context, array)}.p0"
        mask = _lanes(builder, ir.Constant(args[3].type, 0), args[3])
        _call(builder, name, ir.VoidType(), args[2], place, align, mask)
        return context.get_dummy_value()

    return types.void(array, types.int64, vector, types.int64), build


@inlined
def store_lanes(array, at, vector, count):
    """Write the first `count` (at most sixteen) elements of a vector; nothing else is touched."""
    if count == LANES:
        store(array, at, vector)
    else:
        _store_before(array, at, vector, count)


@intrinsic
def prefetch(typingctx, array, at):
    """Prefetch the cache line of element `at`, which need not exist."""

    def build(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        read, keep_in_outer_cache, is_data = (ir.Constant(ir.IntType(32), flag) for flag in (0, 2, 1))
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), place, read, keep_in_outer_cache, is_data)
        return context.get_dummy_value()

    return types.void(array, types.int64), build


@intrinsic
def splat(typingctx, number):
    """A vector that holds one number in every lane."""
    return Vector(number)(number), lambda context, builder, _, args: _splat(builder, args[0])


@intrinsic
def where_better(typingctx, new, best, yes, no):
    """`yes` where `new` beats `best`, else `no`.

    Strictly greater wins, so a tie stays with the first direction; NaN wins over numbers, and the first NaN stays.
    """

    def build(context, builder, signature, args):
        new, best, yes, no = args
        not_at_most = builder.fcmp_unordered(">", new, best)
        return builder.select(builder.and_(not_at_most, builder.fcmp_ordered("ord", best, best)), yes, no)

    return yes(new, best, yes, no), build


@intrinsic
def where_equal(typingctx, marks, mark, yes):
    """`yes` where the byte is `mark`, else zero."""

    def build(context, builder, signature, args):
        equal = builder.icmp_unsigned("==", args[0], _splat(builder, args[1]))
        return builder.select(equal, args[2], ir.Constant(args[2].type, None))

    return yes(marks, types.uint8, yes), build


def _arithmetic(symbol, instruction):
    @intrinsic
    def operate(typingctx, left, right):
        def build(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return left(left, right), build

    @overload(symbol)
    def _(left, right):
        if isinstance(left, Vector) and left == right:
            return lambda left, right: operate(left, right)
        return None


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


@intrinsic
def absolute(typingctx, vector):
    def build(context, builder, signature, args):
        return _call(builder, f"llvm.fabs.{_suffix(context, vector)}", args[0].type, *args)

    return vector(vector), build


@intrinsic
def where_at_most(typingctx, value, limit, yes, no):
    """`yes` where `value` is at most `limit`, else `no`; NaN is not."""

    def build(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<=", *args[:2]), *args[2:])

    return yes(value, limit, yes, no), build


@intrinsic
def where_positive(typingctx, value, yes, no):
    """`yes` where `value` is above zero, else `no`."""

    def build(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], ir.Constant(args[0].type, None)), *args[1:])

    return yes(value, yes, no), build


@intrinsic
def power_of_two(typingctx, exponents):
    """Two to the powers that the lowest bits of numbers hold."""

    def build(context, builder, signature, args):
        kind = ir.IntType(8 * _itemsize(context, exponents))
        mantissa, bias = {32: (23, 127), 64: (52, 1023)}[kind.width]
        bits = builder.bitcast(args[0], _vector_of(kind))
        bits = builder.shl(bits, ir.Constant(bits.type, [mantissa] * LANES))
        bits = builder.add(bits, ir.Constant(bits.type, [bias << mantissa] * LANES))
        return builder.bitcast(bits, args[0].type)

    return exponents(exponents), build


@intrinsic
def keep_between(typingctx, vector, skip, count):
    """The lanes from `skip` to before `count`, zeros elsewhere."""

    def build(context, builder, signature, args):
        return builder.select(_lanes(builder, *args[1:]), args[0], ir.Constant(args[0].type, None))

    return vector(vector, types.int64, types.int64), build


@intrinsic
def multiply_add(typingctx, left, right, more):
    """left * right + more, rounded once where the processor can.

    If it were left to the compiler, which product is joined with a sum would depend on what is compiled together. But a
    kernel must give the same bits whether it was just compiled or comes from disk.
    """

    def build(context, builder, signature, args):
        name = f"llvm.fmuladd.{_suffix(context, left)}"
        return _call(builder, name, args[0].type, *args)

    return left(left, right, more), build


@intrinsic
def row_at(typingctx, array, offset, length):
    """View of `length` elements of a flat array from `offset` on, without the checks of a slice."""
    view = types.Array(array.dtype, 1, "C")

    def build(context, builder, signature, args):
        source = context.make_array(array)(context, builder, args[0])
        row = context.make_array(view)(context, builder)
        itemsize = context.get_constant(types.intp, _itemsize(context, array))
        context.populate_array(
            row,
            data=builder.gep(source.data, [args[1]]),
            shape=cgutils.pack_array(builder, [args[2]]),
            strides=cgutils.pack_array(builder, [itemsize]),
            itemsize=itemsize,
            meminfo=None,
        )
        return row._getvalue()

    return view(array, types.int64, types.int64), build


@intrinsic
def transpose_tile(typingctx, source, offset, pitch, target, target_offset, target_pitch):
    """Copy the 8 x 8 tile at `offset`, rows `pitch` apart, into `target` with rows and columns exchanged."""

    def build(context, builder, signature, args):
        align = _itemsize(context, source)

        def place(array_type, array, start, step, row, column, lanes):
            along = ir.Constant(start.type, column)
            at = builder.add(builder.add(start, along), builder.mul(step, ir.Constant(step.type, row)))
            return _place(context, builder, array_type, array, at, lanes)

        # Of the four quarters, those off the diagonal change places as they are read. What is left is to transpose
        # each, two of them at a time: first numbers interleave, then pairs of numbers.
        half = TILE // 2

        def half_row(row, column):
            return builder.load(place(source, *args[:3], row, column, half), align=align)

        def interleave(first, second, size, end):
            lanes = [quarter + end * half // 2 + i for quarter in (0, half) for i in range(half // 2)]
            pairs = [lanes[i : i + size] for i in range(0, half, size)]
            return _shuffle(builder, first, second, [j + k for pair in pairs for k in (0, TILE) for j in pair])

        rows = []
        for column in (0, half):
            a, b, c, d = (
                _shuffle(builder, half_row(row, column), half_row(row + half, column), list(range(TILE)))
                for row in range(half)
            )
            for end in (0, 1):
                ab, cd = (interleave(*two, 1, end) for two in ((a, b), (c, d)))
                rows += [interleave(ab, cd, 2, 0), interleave(ab, cd, 2, 1)]
        for i, value in enumerate(rows):
            builder.store(value, place(target, *args[3:], i, 0, TILE), align=align)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), build


def _shuffle(builder, first, second, lanes):
    mask = ir.Constant(_vector_of(ir.IntType(32), TILE), lanes)
    return builder.shuffle_vector(first, second, mask)


@intrinsic
def float_bits(typingctx, bits):
    """The float32 with these bits."""
    return types.float32(types.uint32), lambda context, builder, _, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def bits_of(typingctx, value):
    """The bits of a float32."""
    return types.uint32(types.float32), lambda context, builder, _, args: builder.bitcast(args[0], ir.IntType(32))
