"""Sums over lanes in one fixed order, and their exact accumulation as int64 multiples of 2**-36.

A value that is NaN or not below the guard's limit is left out and counted, before the conversion to integers
(which is undefined for such values), so that no total can wrap and every rank comes to the same verdict.
A guard is an int64 array: [limit for one block, a count that grows when values are refused].
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from distcnn.exact import SUM_BITS
from distcnn.lanes.memory import advance, pointer
from distcnn.lanes.processor import vector_registers
from distcnn.lanes.types import (
    BITS,
    DOUBLES,
    FLOATS,
    INT,
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


def fold(builder, values):
    """Return sixteen Lanes' sums as one vector: sum k is in lane ORDER[k].

    Every sum is the same tree, ((0+8)+(4+12))+..., whatever the other fifteen are: 15 additions in all.
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
    """Take the same lanes of x and of y, alternating runs of `run` lanes."""
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


class Guard:
    """LLVM code around conversions to exact integers: tests values, counts the refused ones."""

    def __init__(self, context, builder, array_type, array):
        self.builder = builder
        header = context.make_array(array_type)(context, builder, array)
        self.count_at = builder.gep(header.data, [ir.Constant(LONG, 1)])
        limit = builder.sitofp(builder.load(header.data), ir.FloatType())
        self.limit = broadcast(builder, limit)
        self.refused = ir.Constant(BITS, [0] * LANES)

    def convert(self, values):
        """Return rint(values * 2**36) as sixteen int64, 0 where refused."""
        builder = self.builder
        fine = builder.fcmp_ordered("<", call(builder, "llvm.fabs.v16f32", FLOATS, values), self.limit)
        self.refused = builder.or_(self.refused, builder.not_(fine))
        if vector_registers() == 32:
            scaled = builder.fmul(values, constant(float(2**SUM_BITS)))
            scaled = builder.select(fine, scaled, constant(0.0))
            return builder.fptosi(call(builder, "llvm.rint.v16f32", FLOATS, scaled), LONGS)
        return self._convert_by_halves(builder.select(fine, values, constant(0.0)))

    def _convert_by_halves(self, values):
        """Do the same without an instruction for it, as on AVX2, where one by one takes three times as long.

        A double plus 1.5 * 2**52 holds its nearest whole number in its low bits. The upper half counts 2**32 quanta;
        what it leaves, exactly, is the lower half.
        """
        builder, shift = self.builder, constant(1.5 * 2.0**52, DOUBLES)
        quanta = builder.fmul(builder.fpext(values, DOUBLES), constant(float(2**SUM_BITS), DOUBLES))
        upper = builder.fadd(builder.fmul(quanta, constant(2.0**-32, DOUBLES)), shift)
        whole = builder.fmul(builder.fsub(upper, shift), constant(2.0**32, DOUBLES))
        lower = builder.fadd(builder.fsub(quanta, whole), shift)
        upper, lower, zero = (builder.bitcast(x, LONGS) for x in (upper, lower, shift))
        return builder.add(builder.shl(upper, constant(32, LONGS)), builder.sub(lower, zero))

    def close(self):
        """Add to the guard's count the number of lanes in which a value was refused."""
        builder = self.builder
        bits = builder.bitcast(self.refused, SHORT)
        with builder.if_then(builder.icmp_unsigned("!=", bits, ir.Constant(SHORT, 0)), likely=False):
            refused = builder.zext(call(builder, "llvm.ctpop.i16", SHORT, bits), LONG)
            builder.store(builder.add(builder.load(self.count_at), refused), self.count_at)


@intrinsic
def total_over_lanes(typing, x):
    """Return the sum over the lanes of x, in every lane: in each the same tree, ((0+8)+(4+12))+..."""

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

    Rows run along axis 0 of the int64 array, columns along its last axis. The first `skip_rows` rows and
    `skip_columns` columns are left out: a last tile may overlap the one before it.
    """
    if not literals(rows, columns):
        return None
    m, n = rows.literal_value, columns.literal_value

    def generate(context, builder, signature, arguments):
        address, strides = pointer(
            context, builder, signature.args[0], arguments[0], signature.args[1], arguments[1], False
        )
        values = unpack(builder, arguments[2], signature.args[2])
        guarded = Guard(context, builder, signature.args[7], arguments[7])
        integers = []
        for start in range(0, len(values), LANES):
            group = values[start : start + LANES]
            padded = group + [constant(0.0)] * (LANES - len(group))
            sums = guarded.convert(fold(builder, padded))
            integers += [builder.extract_element(sums, ir.Constant(INT, ORDER[k])) for k in range(len(group))]
        guarded.close()
        first_row = context.cast(builder, arguments[5], signature.args[5], types.int64)
        first_column = context.cast(builder, arguments[6], signature.args[6], types.int64)
        for i in range(m):
            row_counts = builder.icmp_signed(">=", ir.Constant(LONG, i), first_row)
            for j in range(n):
                column_counts = builder.icmp_signed(">=", ir.Constant(LONG, j), first_column)
                place = advance(builder, advance(builder, address, strides[0], i), strides[-1], j)
                place = builder.bitcast(place, LONG.as_pointer())
                addend = builder.select(
                    builder.and_(row_counts, column_counts), integers[i * n + j], ir.Constant(LONG, 0)
                )
                builder.store(builder.add(builder.load(place), addend), place)
        return context.get_dummy_value()

    return types.void(array, index, tile, rows, columns, skip_rows, skip_columns, guard), generate


@intrinsic(prefer_literal=True)
def add_features(typing, array, index, tile, rows, columns, skip_rows, guard):
    """Add tile[i][j], sixteen neighbouring features, to array[index + (i, 16 j ... 16 j + 15)], exactly.

    Here lanes are features of a [rows, features] int64 array; the first `skip_rows` rows are left out.
    """
    if not literals(rows, columns):
        return None
    m, n = rows.literal_value, columns.literal_value

    def generate(context, builder, signature, arguments):
        address, strides = pointer(
            context, builder, signature.args[0], arguments[0], signature.args[1], arguments[1], False
        )
        values = unpack(builder, arguments[2], signature.args[2])
        guarded = Guard(context, builder, signature.args[6], arguments[6])
        first_row = context.cast(builder, arguments[5], signature.args[5], types.int64)
        for i in range(m):
            counts = builder.icmp_signed(">=", ir.Constant(LONG, i), first_row)
            for j in range(n):
                place = advance(builder, advance(builder, address, strides[0], i), strides[-1], LANES * j)
                place = builder.bitcast(place, LONGS.as_pointer())
                addend = guarded.convert(values[i * n + j])
                addend = builder.select(counts, addend, constant(0, LONGS))
                builder.store(builder.add(builder.load(place, align=8), addend), place, align=8)
        guarded.close()
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
