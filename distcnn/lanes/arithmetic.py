"""Arithmetic on Lanes and tiles, each lane for itself: the same bits on every processor.

Only additions, products, quotients and fused multiply-adds are used, each correctly rounded. Comparisons are
ordered (false for NaN) and written so that a NaN is what passes, never what gets lost.
"""

import math
import operator
from functools import reduce
from itertools import zip_longest

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from distcnn.lanes.types import FLOAT, FLOATS, INTS, broadcast, call, constant, lanes, literals, unpack

# ---- tiles ----


@intrinsic(prefer_literal=True)
def tile_zeros(typing, count):
    """Return a tile of `count` Lanes of zeros."""
    if not literals(count):
        return None

    def generate(context, builder, signature, arguments):
        return cgutils.pack_array(builder, [constant(0.0)] * signature.return_type.count)

    return types.UniTuple(lanes, count.literal_value)(count), generate


@intrinsic(prefer_literal=True)
def tile_repeat(typing, column, count):
    """Return a tile whose row i is column[i], `count` times."""
    if not literals(count):
        return None
    n = count.literal_value

    def generate(context, builder, signature, arguments):
        rows = unpack(builder, arguments[0], signature.args[0])
        return cgutils.pack_array(builder, [value for value in rows for _ in range(n)])

    return types.UniTuple(lanes, column.count * n)(column, count), generate


@intrinsic
def tile_fma(typing, tile, column, row):
    """Return tile[i][j] + column[i] * row[j]: an outer product, one fused multiply-add each."""

    def generate(context, builder, signature, arguments):
        sums, columns, rows = (unpack(builder, v, t) for v, t in zip(arguments, signature.args, strict=True))
        products = [(c, r) for c in columns for r in rows]
        return cgutils.pack_array(
            builder, [_fma(builder, c, r, s) for (c, r), s in zip(products, sums, strict=True)]
        )

    return tile(tile, column, row), generate


@intrinsic
def tile_add(typing, tile, other):
    """Return the sum of two tiles."""

    def generate(context, builder, signature, arguments):
        pairs = zip(
            *(unpack(builder, v, t) for v, t in zip(arguments, signature.args, strict=True)), strict=True
        )
        return cgutils.pack_array(builder, [builder.fadd(x, y) for x, y in pairs])

    return tile(tile, other), generate


@intrinsic
def tile_scale(typing, tile, factor, offset):
    """Return tile * factor + offset, each rounded once."""

    def generate(context, builder, signature, arguments):
        values = unpack(builder, arguments[0], signature.args[0])
        return cgutils.pack_array(builder, [_fma(builder, v, *arguments[1:]) for v in values])

    return tile(tile, factor, offset), generate


@intrinsic(prefer_literal=True)
def tile_slide(typing, tile, count):
    """Return the tile without its first `count` Lanes, and as many of zeros behind."""
    if not literals(count):
        return None

    def generate(context, builder, signature, arguments):
        values = unpack(builder, arguments[0], signature.args[0])
        left = values[count.literal_value :]
        return cgutils.pack_array(builder, left + [constant(0.0)] * (len(values) - len(left)))

    return tile(tile, count), generate


@intrinsic
def tile_relu(typing, tile):
    """Return the tile with 0 in place of what is not above 0."""

    def generate(context, builder, signature, arguments):
        values = unpack(builder, arguments[0], signature.args[0])
        return cgutils.pack_array(builder, [_where_positive(builder, v, v) for v in values])

    return tile(tile), generate


@intrinsic
def tile_where_positive(typing, test, tile):
    """Return the tile where test > 0 or NaN, else 0: the derivative of relu, from its output."""

    def generate(context, builder, signature, arguments):
        pairs = zip(
            *(unpack(builder, v, t) for v, t in zip(arguments, signature.args, strict=True)), strict=True
        )
        return cgutils.pack_array(builder, [_where_positive(builder, t, v) for t, v in pairs])

    return tile(test, tile), generate


@intrinsic
def tile_maximum(typing, tile):
    """Return the largest of a tile's Lanes, the first of equals; NaN if any of them is.

    A comparison that keeps the first where either is NaN is one instruction; NaN is looked for in two at a time.
    """

    def generate(context, builder, signature, arguments):
        values = unpack(builder, arguments[0], signature.args[0])
        largest = reduce(lambda x, y: builder.select(builder.fcmp_ordered(">", y, x), y, x), values)
        pairs = zip_longest(values[0::2], values[1::2], fillvalue=values[0])
        unordered = [builder.fcmp_unordered("uno", x, y) for x, y in pairs]
        return builder.select(reduce(builder.or_, unordered), constant(math.nan), largest)

    return lanes(tile), generate


@intrinsic
def tile_where_first(typing, tile, wanted, value):
    """Return a tile that has `value` where the tile is `wanted` for the first time, and 0 elsewhere."""

    def generate(context, builder, signature, arguments):
        _, wanted, value = arguments
        zero, places = constant(0.0), []
        for each in unpack(builder, arguments[0], signature.args[0]):
            equal = builder.fcmp_ordered("==", each, wanted)
            places.append(builder.select(equal, value, zero))
            value = builder.select(equal, zero, value)
        return cgutils.pack_array(builder, places)

    return tile(tile, wanted, value), generate


@intrinsic
def tile_weighted_sum(typing, window, rows, columns):
    """Return the sum over i of rows[i] * the sum over j of columns[j] * window[i][j], both from 0 and ascending."""

    def generate(context, builder, signature, arguments):
        values, heights, widths = (
            unpack(builder, v, t) for v, t in zip(arguments, signature.args, strict=True)
        )
        total = constant(0.0)
        for i, height in enumerate(heights):
            part = constant(0.0)
            for j, width in enumerate(widths):
                part = _fma(builder, width, values[i * len(widths) + j], part)
            total = _fma(builder, height, part, total)
        return total

    return lanes(window, rows, columns), generate


@intrinsic
def tile_dot(typing, tile, column):
    """Return for each row of a tile the sum over j of tile[i][j] * column[j], from 0 and ascending."""
    count = tile.count // column.count

    def generate(context, builder, signature, arguments):
        values, factors = (unpack(builder, v, t) for v, t in zip(arguments, signature.args, strict=True))
        sums = [constant(0.0)] * count
        for j, factor in enumerate(factors):
            of_rows = values[j :: len(factors)]
            sums = [_fma(builder, value, factor, sum_) for value, sum_ in zip(of_rows, sums, strict=True)]
        return cgutils.pack_array(builder, sums)

    return types.UniTuple(lanes, count)(tile, column), generate


@intrinsic
def tile_sum_by_halves(typing, tile, other):
    """Return the sum of the products of two tiles' Lanes: the second half is added to the first, and so on."""

    def generate(context, builder, signature, arguments):
        pairs = zip(
            *(unpack(builder, v, t) for v, t in zip(arguments, signature.args, strict=True)), strict=True
        )
        sums = [builder.fmul(x, y) for x, y in pairs]
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [builder.fadd(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
        return sums[0]

    return lanes(tile, other), generate


class Symbol:
    """A Lanes in a formula that is written in Python and becomes LLVM code: +, -, `times` and `fma`."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def __add__(self, other):
        return Symbol(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other):
        return Symbol(self.builder, self.builder.fsub(self.value, other.value))

    def times(self, number):
        """Return the product with a number."""
        return Symbol(self.builder, self.builder.fmul(self.value, constant(float(number))))

    def fma(self, number, other):
        """Return self * number + other, rounded once."""
        return Symbol(self.builder, _fma(self.builder, self.value, constant(float(number)), other.value))


def tile_transform(formula, size, result):
    """Make an intrinsic that takes a square tile of size**2 Lanes and applies `formula` to its columns, then rows.

    formula: from `size` Symbols to `result` of them. The values between the two stay in registers as far as they fit.
    """

    @intrinsic
    def transform(typing, tile):
        def generate(context, builder, signature, arguments):
            values = [Symbol(builder, value) for value in unpack(builder, arguments[0], signature.args[0])]
            columns = [formula(*values[k::size]) for k in range(size)]
            rows = [formula(*row) for row in zip(*columns, strict=True)]
            return cgutils.pack_array(builder, [symbol.value for row in rows for symbol in row])

        return types.UniTuple(lanes, result * result)(tile), generate

    return transform


def row_transform(formula, result):
    """Make an intrinsic that takes a tile and applies `formula`, from as many Symbols to `result` of them."""

    @intrinsic
    def transform(typing, tile):
        def generate(context, builder, signature, arguments):
            values = [Symbol(builder, value) for value in unpack(builder, arguments[0], signature.args[0])]
            return cgutils.pack_array(builder, [symbol.value for symbol in formula(*values)])

        return types.UniTuple(lanes, result)(tile), generate

    return transform


# ---- one Lanes ----


def _fma(builder, x, y, z):
    return call(builder, "llvm.fma.v16f32", FLOATS, x, y, z)


def _where_positive(builder, test, value):
    zero = constant(0.0)
    return builder.select(builder.fcmp_ordered("<=", test, zero), zero, value)


def _maximum(builder, x, y):
    above, is_nan = builder.fcmp_ordered(">", y, x), builder.fcmp_unordered("uno", y, y)
    return builder.select(builder.or_(above, is_nan), y, x)


def _power_of_two(builder, x):
    """Return 2**x for whole x in -126..127: adding 1.5 * 2**23 leaves x in the low bits of the float."""
    bits = builder.bitcast(builder.fadd(x, constant(12582912.0)), INTS)
    return builder.bitcast(builder.shl(builder.add(bits, constant(127, INTS)), constant(23, INTS)), FLOATS)


def _mantissa(builder, x):
    """Return the mantissa of x > 0, in [0.5, 1)."""
    bits = builder.and_(builder.bitcast(x, INTS), constant(0x007FFFFF, INTS))
    return builder.bitcast(builder.or_(bits, constant(0x3F000000, INTS)), FLOATS)


def _exponent(builder, x):
    """Return e of x = mantissa * 2**e, x > 0."""
    bits = builder.lshr(builder.bitcast(x, INTS), constant(23, INTS))
    return builder.sitofp(builder.sub(bits, constant(126, INTS)), FLOATS)


def _unary(emit):
    @intrinsic
    def operation(typing, x):
        return lanes(x), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return operation


def _binary(emit):
    @intrinsic
    def operation(typing, x, y):
        return lanes(x, y), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return operation


def _ternary(emit):
    @intrinsic
    def operation(typing, x, y, z):
        return lanes(x, y, z), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return operation


def _selection(comparison):
    @intrinsic
    def operation(typing, x, y, yes, no):
        def generate(context, builder, signature, arguments):
            a, b, p, q = arguments
            return builder.select(builder.fcmp_ordered(comparison, a, b), p, q)

        return lanes(x, y, yes, no), generate

    return operation


add = _binary(lambda builder, x, y: builder.fadd(x, y))
subtract = _binary(lambda builder, x, y: builder.fsub(x, y))
multiply = _binary(lambda builder, x, y: builder.fmul(x, y))
divide = _binary(lambda builder, x, y: builder.fdiv(x, y))
fma = _ternary(_fma)  # x * y + z, rounded once
maximum = _binary(_maximum)  # the first of equals; NaN if either is
where_positive = _binary(_where_positive)  # (test, value): value where test > 0 or NaN, else 0
where_greater = _selection(">")  # (x, y, yes, no)
where_less = _selection("<")
where_equal = _selection("==")
rint = _unary(lambda builder, x: call(builder, "llvm.rint.v16f32", FLOATS, x))
floor = _unary(lambda builder, x: call(builder, "llvm.floor.v16f32", FLOATS, x))
absolute = _unary(lambda builder, x: call(builder, "llvm.fabs.v16f32", FLOATS, x))
square_root = _unary(lambda builder, x: call(builder, "llvm.sqrt.v16f32", FLOATS, x))  # rounded correctly
copysign = _binary(lambda builder, x, y: call(builder, "llvm.copysign.v16f32", FLOATS, x, y))  # |x|, y's sign
power_of_two = _unary(_power_of_two)
mantissa = _unary(_mantissa)
exponent = _unary(_exponent)


@intrinsic
def splat(typing, x):
    """Return the number x in every lane."""

    def generate(context, builder, signature, arguments):
        return broadcast(builder, context.cast(builder, arguments[0], signature.args[0], types.float32))

    return lanes(x), generate


def _overload(symbol, implementation):
    @overload(symbol)
    def operator_of_lanes(x, y):
        if x is lanes and y is lanes:
            return lambda x, y: implementation(x, y)
        return None


_overload(operator.add, add)
_overload(operator.sub, subtract)
_overload(operator.mul, multiply)
_overload(operator.truediv, divide)


@intrinsic
def fma_scalar(typing, x, y, z):
    """Return x * y + z of three float32, rounded once."""

    def generate(context, builder, signature, arguments):
        return call(builder, "llvm.fma.f32", FLOAT, *arguments)

    return types.float32(types.float32, types.float32, types.float32), generate
