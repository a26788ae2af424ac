"""Arithmetic on register tiles, tuples of Lanes that stay in registers, for the inner loops of kernels.

Each operation is unrolled over the Lanes of a tile when a kernel is compiled. Docstrings give the order of each sum.
"""

import math
from collections.abc import Callable
from functools import reduce
from itertools import zip_longest
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from distcnn.lanes.arithmetic import emit_fma, emit_where_positive
from distcnn.lanes.types import LANES, constant, lanes, literals, shuffle, unpack, unpack_all


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
    """Return tile[i][j] + column[i] * row[j], an outer product, by one fused multiply-add for each element."""

    def generate(context, builder, signature, arguments):
        sums, columns, rows = unpack_all(builder, arguments, signature)
        factors = [(c, r) for c in columns for r in rows]
        added = [emit_fma(builder, c, r, s) for (c, r), s in zip(factors, sums, strict=True)]
        return cgutils.pack_array(builder, added)

    return tile(tile, column, row), generate


@intrinsic
def tile_add(typing, tile, other):
    """Return the sum of two tiles."""

    def generate(context, builder, signature, arguments):
        pairs = zip(*unpack_all(builder, arguments, signature), strict=True)
        return cgutils.pack_array(builder, [builder.fadd(x, y) for x, y in pairs])

    return tile(tile, other), generate


@intrinsic
def tile_scale(typing, tile, factor, offset):
    """Return tile * factor + offset, each rounded once."""

    def generate(context, builder, signature, arguments):
        values = unpack(builder, arguments[0], signature.args[0])
        return cgutils.pack_array(builder, [emit_fma(builder, v, *arguments[1:]) for v in values])

    return tile(tile, factor, offset), generate


@intrinsic(prefer_literal=True)
def tile_slide(typing, tile, count):
    """Return the tile without its first `count` Lanes, with as many Lanes of zeros appended."""
    if not literals(count):
        return None

    def generate(context, builder, signature, arguments):
        values = unpack(builder, arguments[0], signature.args[0])
        left = values[count.literal_value :]
        return cgutils.pack_array(builder, left + [constant(0.0)] * (len(values) - len(left)))

    return tile(tile, count), generate


@intrinsic
def tile_relu(typing, tile):
    """Return the maximum of the tile and 0; NaN stays NaN."""

    def generate(context, builder, signature, arguments):
        values = unpack(builder, arguments[0], signature.args[0])
        return cgutils.pack_array(builder, [emit_where_positive(builder, v, v) for v in values])

    return tile(tile), generate


@intrinsic
def tile_where_positive(typing, test, tile):
    """Return the tile where test > 0 or NaN, else 0: the derivative of relu, from its output."""

    def generate(context, builder, signature, arguments):
        pairs = zip(*unpack_all(builder, arguments, signature), strict=True)
        return cgutils.pack_array(builder, [emit_where_positive(builder, t, v) for t, v in pairs])

    return tile(test, tile), generate


@intrinsic
def tile_maximum(typing, tile):
    """Return the largest of a tile's Lanes, the first of equals; NaN if any of them is.

    For each Lanes, one instruction computes a maximum that is its first operand if either operand is NaN. A further
    instruction tests two Lanes for NaN.
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
        values, heights, widths = unpack_all(builder, arguments, signature)
        total = constant(0.0)
        for i, height in enumerate(heights):
            row_total = constant(0.0)
            for j, width in enumerate(widths):
                row_total = emit_fma(builder, width, values[i * len(widths) + j], row_total)
            total = emit_fma(builder, height, row_total, total)
        return total

    return lanes(window, rows, columns), generate


@intrinsic
def tile_dot(typing, tile, column):
    """Return for each row of a tile the sum over j of tile[i][j] * column[j], from 0 and ascending."""
    count = tile.count // column.count

    def generate(context, builder, signature, arguments):
        values, factors = unpack_all(builder, arguments, signature)
        sums = [constant(0.0)] * count
        for j, factor in enumerate(factors):
            of_rows = values[j :: len(factors)]
            sums = [emit_fma(builder, value, factor, sum_) for value, sum_ in zip(of_rows, sums, strict=True)]
        return cgutils.pack_array(builder, sums)

    return types.UniTuple(lanes, count)(tile, column), generate


@intrinsic
def tile_sum_by_halves(typing, tile, other):
    """Return the sum of the products of the Lanes of two tiles, by adding the second half to the first repeatedly."""

    def generate(context, builder, signature, arguments):
        pairs = zip(*unpack_all(builder, arguments, signature), strict=True)
        sums = [builder.fmul(x, y) for x, y in pairs]
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [builder.fadd(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
        return sums[0]

    return lanes(tile, other), generate


@intrinsic
def transpose(typing, tile):
    """Return sixteen Lanes, seen as a 16 x 16 matrix, transposed (64 shuffles of two registers)."""

    def generate(context, builder, signature, arguments):
        rows, distance = unpack(builder, arguments[0], signature.args[0]), 1
        while distance < LANES:
            low = [k if not k & distance else LANES + k - distance for k in range(LANES)]
            high = [k + distance if not k & distance else LANES + k for k in range(LANES)]
            for i in (i for i in range(LANES) if not i & distance):
                x, y = rows[i], rows[i + distance]
                rows[i], rows[i + distance] = shuffle(builder, x, y, low), shuffle(builder, x, y, high)
            distance *= 2
        return cgutils.pack_array(builder, rows)

    return types.UniTuple(lanes, LANES)(tile), generate


class Symbol:
    """A Lanes in a Python formula that emits LLVM code; it has the operations +, -, `times` and `fma`."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: "Symbol") -> "Symbol":
        return Symbol(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other: "Symbol") -> "Symbol":
        return Symbol(self.builder, self.builder.fsub(self.value, other.value))

    def times(self, number: float) -> "Symbol":
        """Return the product with a number."""
        return Symbol(self.builder, self.builder.fmul(self.value, constant(float(number))))

    def fma(self, number: float, other: "Symbol") -> "Symbol":
        """Return self * number + other, rounded once."""
        return Symbol(self.builder, emit_fma(self.builder, self.value, constant(float(number)), other.value))


Formula = Callable[..., tuple[Symbol, ...]]


def tile_transform(formula: Formula, size: int, result: int) -> Any:
    """Return an intrinsic for square tiles that applies `formula` to the columns, then to the rows.

    formula: a function from `size` Symbols to `result` Symbols.
    size, result: the sides of the tile and of the result.

    Values between the two applications stay in registers as far as they fit.
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


def row_transform(formula: Formula, result: int) -> Any:
    """Return an intrinsic for tiles that applies `formula`, a function from Symbols to `result` Symbols."""

    @intrinsic
    def transform(typing, tile):
        def generate(context, builder, signature, arguments):
            values = [Symbol(builder, value) for value in unpack(builder, arguments[0], signature.args[0])]
            return cgutils.pack_array(builder, [symbol.value for symbol in formula(*values)])

        return types.UniTuple(lanes, result)(tile), generate

    return transform
