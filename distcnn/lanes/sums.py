"""Sums over lanes in one fixed order, and their exact accumulation as int64 multiples of 2**-36.

Before the conversion to integers, a value that is NaN, or whose magnitude is not below the limit of the guard, is
replaced by 0 and counted, because the conversion of such values is undefined. So no total can wrap around, and all
ranks see the same overflows. A guard is an int64 array: [limit for the values of one block, number of values replaced].
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from distcnn.lanes.cpu import vector_registers
from distcnn.lanes.memory import advance, pointer
from distcnn.lanes.types import (
    DOUBLES,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LANES,
    LONG,
    LONGS,
    SHORT,
    broadcast,
    call,
    constant,
    lanes,
    literals,
    shuffle,
    unpack,
)
from distcnn.numerics.fixed_point import SUM_BITS


def fold(builder: ir.IRBuilder, values: list[ir.Value]) -> ir.Value:
    """Return the sums over the lanes of sixteen Lanes as one vector; the sum of Lanes k is in lane ORDER[k].

    Each sum has the same tree, ((0+8)+(4+12))+...; all sixteen sums together need 15 additions of vectors.
    """
    width = LANES
    while width > 1:
        half = width // 2
        low = [start + k for start in range(0, LANES, width) for k in range(half)]
        high = [k + half for k in low]
        values = [
            builder.fadd(_interleave(builder, x, y, low, half), _interleave(builder, x, y, high, half))
            for x, y in zip(values[0::2], values[1::2], strict=True)
        ]
        width = half
    return values[0]


def _interleave(builder, x, y, lanes_of_each, run):
    """Return the same lanes of x and of y, in alternating runs of `run` lanes."""
    indices = []
    for start in range(0, len(lanes_of_each), run):
        group = lanes_of_each[start : start + run]
        indices += group + [LANES + k for k in group]
    return shuffle(builder, x, y, indices)


def _fold_order():
    groups = [[k] for k in range(LANES)]
    while len(groups) > 1:
        groups = [
            [s for a, b in zip(x, y, strict=True) for s in (a, b)]
            for x, y in zip(groups[0::2], groups[1::2], strict=True)
        ]
    return [groups[0].index(k) for k in range(LANES)]


ORDER = _fold_order()
USUAL = 0x46800000  # the bits of 2**14, below which a float's quanta are below 2**50


class Guard:
    """LLVM code that converts floats to exact integers: it tests the values and counts those that overflow."""

    def __init__(self, context: Any, builder: ir.IRBuilder, array_type: types.Array, array: ir.Value) -> None:
        self.builder = builder
        header = context.make_array(array_type)(context, builder, array)
        self.count_at = builder.gep(header.data, [ir.Constant(LONG, 1)])
        self.limit = builder.bitcast(builder.sitofp(builder.load(header.data), FLOAT), INT)

    def convert(self, values: list[ir.Value], add: Callable[[list[ir.Value]], None]) -> None:
        """Emit code that converts Lanes to sixteen int64 each, rint(value * 2**36) or 0 on overflow, and adds them.

        values: a list of Lanes.
        add: a function that emits the code that uses a list of integers. It is called twice, once for fast code if all
            values are usual, and once for general code for the rare other case.

        The bits of floats without their signs, read as integers, have the same order as the floats, with NaN last. So
        it is enough to test the largest.
        """
        builder = self.builder
        bits = [builder.and_(builder.bitcast(each, INTS), constant(0x7FFFFFFF, INTS)) for each in values]
        largest = reduce(lambda x, y: builder.select(builder.icmp_unsigned(">", x, y), x, y), bits)
        with builder.if_else(self._all(self._below(largest, self._usual())), likely=True) as (usual, rare):
            with usual:
                add([self._converted(each, usual=True) for each in values])
            with rare:
                fine = [self._below(each, self.limit) for each in bits]
                self._count(reduce(builder.and_, fine))
                left = [builder.select(*each, constant(0.0)) for each in zip(fine, values, strict=True)]
                add([self._converted(each, usual=False) for each in left])

    def _usual(self):
        """Return the bits of the limit below which values are usual."""
        if vector_registers() == 32:
            return self.limit
        most = ir.Constant(INT, USUAL)
        return self.builder.select(self.builder.icmp_unsigned("<", self.limit, most), self.limit, most)

    def _below(self, bits, limit):
        return self.builder.icmp_unsigned("<", bits, broadcast(self.builder, limit, INTS))

    def _all(self, mask):
        return self.builder.icmp_unsigned("==", self.builder.bitcast(mask, SHORT), ir.Constant(SHORT, 0xFFFF))

    def _count(self, fine):
        """Add to the guard's count the number of lanes in which any value overflows."""
        builder = self.builder
        lost = call(builder, "llvm.ctpop.i16", SHORT, builder.not_(builder.bitcast(fine, SHORT)))
        builder.store(builder.add(builder.load(self.count_at), builder.zext(lost, LONG)), self.count_at)

    def _converted(self, values, usual):
        if vector_registers() == 32:
            scaled = self.builder.fmul(values, constant(float(2**SUM_BITS)))
            return self.builder.fptosi(call(self.builder, "llvm.rint.v16f32", FLOATS, scaled), LONGS)
        return self._without_instruction(values, usual)

    def _without_instruction(self, values, usual):
        """Convert without a vector instruction, which AVX2 lacks; converting one by one takes three times as long.

        A double plus 1.5 * 2**52 has the nearest whole number in its low bits. Usual values fit; others are split
        exactly into an upper half, in units of 2**32 quanta, and a lower half.
        """
        builder, shift = self.builder, constant(1.5 * 2.0**52, DOUBLES)
        zero = builder.bitcast(shift, LONGS)
        quanta = builder.fmul(builder.fpext(values, DOUBLES), constant(float(2**SUM_BITS), DOUBLES))
        if usual:
            return builder.sub(builder.bitcast(builder.fadd(quanta, shift), LONGS), zero)
        upper = builder.fadd(builder.fmul(quanta, constant(2.0**-32, DOUBLES)), shift)
        whole = builder.fmul(builder.fsub(upper, shift), constant(2.0**32, DOUBLES))
        lower = builder.fadd(builder.fsub(quanta, whole), shift)
        upper, lower = (builder.bitcast(x, LONGS) for x in (upper, lower))
        return builder.add(builder.shl(upper, constant(32, LONGS)), builder.sub(lower, zero))


@intrinsic
def total_over_lanes(typing, x):
    """Return the sum over the lanes of x in every lane; the tree of additions is ((0+8)+(4+12))+... in each lane."""

    def generate(context, builder, signature, arguments):
        total, distance = arguments[0], LANES // 2
        while distance:
            partners = [k ^ distance for k in range(LANES)]
            total, distance = builder.fadd(total, shuffle(builder, total, total, partners)), distance // 2
        return total

    return lanes(x), generate


@intrinsic
def first_lane(typing, x):
    """Return the number in the first lane of x, float32."""

    def generate(context, builder, signature, arguments):
        return builder.extract_element(arguments[0], ir.Constant(INT, 0))

    return types.float32(x), generate


@intrinsic(prefer_literal=True)
def add_sums(typing, array, index, tile, rows, columns, skip_rows, skip_columns, guard):
    """Add the sum over the lanes of tile[i][j] to array[index + (i, ..., j)], exactly.

    Rows lie along axis 0 of the int64 array, columns along its last axis. The first `skip_rows` rows and `skip_columns`
    columns are not added, since the last tile may overlap the previous one.
    """
    if not literals(rows, columns):
        return None
    n = columns.literal_value

    def generate(context, builder, signature, arguments):
        address, strides = pointer(context, builder, signature, arguments, False)
        values = unpack(builder, arguments[2], signature.args[2])
        padded = values + [constant(0.0)] * (-len(values) % LANES)
        folded = [fold(builder, padded[start : start + LANES]) for start in range(0, len(padded), LANES)]
        first_row = context.cast(builder, arguments[5], signature.args[5], types.int64)
        first_column = context.cast(builder, arguments[6], signature.args[6], types.int64)

        def add(sums):
            for k in range(len(values)):
                i, j = divmod(k, n)
                counts = builder.and_(
                    builder.icmp_signed(">=", ir.Constant(LONG, i), first_row),
                    builder.icmp_signed(">=", ir.Constant(LONG, j), first_column),
                )
                place = advance(builder, advance(builder, address, strides[0], i), strides[-1], j)
                place = builder.bitcast(place, LONG.as_pointer())
                total = builder.extract_element(sums[k // LANES], ir.Constant(INT, ORDER[k % LANES]))
                addend = builder.select(counts, total, ir.Constant(LONG, 0))
                builder.store(builder.add(builder.load(place), addend), place)

        Guard(context, builder, signature.args[7], arguments[7]).convert(folded, add)
        return context.get_dummy_value()

    return types.void(array, index, tile, rows, columns, skip_rows, skip_columns, guard), generate


@intrinsic(prefer_literal=True)
def add_features(typing, array, index, tile, rows, columns, skip_rows, guard):
    """Add tile[i][j], sixteen neighboring features, to array[index + (i, 16 j ... 16 j + 15)], exactly.

    Here lanes are features of a [rows, features] int64 array; the first `skip_rows` rows are not added.
    """
    if not literals(rows, columns):
        return None
    n = columns.literal_value

    def generate(context, builder, signature, arguments):
        address, strides = pointer(context, builder, signature, arguments, False)
        values = unpack(builder, arguments[2], signature.args[2])
        first_row = context.cast(builder, arguments[5], signature.args[5], types.int64)

        def add(integers):
            for k, each in enumerate(integers):
                i, j = divmod(k, n)
                counts = builder.icmp_signed(">=", ir.Constant(LONG, i), first_row)
                place = advance(builder, advance(builder, address, strides[0], i), strides[-1], LANES * j)
                place = builder.bitcast(place, LONGS.as_pointer())
                addend = builder.select(counts, each, constant(0, LONGS))
                builder.store(builder.add(builder.load(place, align=8), addend), place, align=8)

        Guard(context, builder, signature.args[6], arguments[6]).convert(values, add)
        return context.get_dummy_value()

    return types.void(array, index, tile, rows, columns, skip_rows, guard), generate


@intrinsic
def add_squares(typing, x, start, totals, chain):
    """Add x[start + s]**2 to totals[chain + s] for s in 0 ... 15, in float64: x int64 or float32 [n], totals [m]."""

    def generate(context, builder, signature, arguments):
        def place_of(k, kind):
            header = context.make_array(signature.args[k])(context, builder, arguments[k])
            return builder.bitcast(builder.gep(header.data, [arguments[k + 1]]), kind.as_pointer())

        if signature.args[0].dtype == types.int64:
            values = builder.sitofp(builder.load(place_of(0, LONGS), align=8), DOUBLES)
        else:
            values = builder.fpext(builder.load(place_of(0, FLOATS), align=4), DOUBLES)
        place = place_of(2, DOUBLES)
        total = builder.fadd(builder.load(place, align=8), builder.fmul(values, values))
        builder.store(total, place, align=8)
        return context.get_dummy_value()

    return types.void(x, types.int64, totals, types.int64), generate
