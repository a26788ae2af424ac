"""Loads and stores of Lanes and tiles.

An index is a tuple of whole numbers. It selects one Lanes (without the axis of lanes) or, for broadcasts, one scalar.
Indices are neither checked nor wrapped. Counts and strides must be compile-time constants.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from distcnn.lanes.types import (
    BYTE,
    BYTES,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LANES,
    LONG,
    broadcast,
    call,
    constant,
    lanes,
    literals,
    unpack,
)


def pointer(
    context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[ir.Value], of_lanes: bool
) -> tuple[ir.Value, list[ir.Value]]:
    """Return the address of array[index], and the strides in bytes of the axes for which the index has numbers.

    context, builder: Numba's context, and LLVM's builder.
    arguments: the arguments of an intrinsic; the first two are the array and the index.
    signature: the Numba types of the arguments.
    of_lanes: whether the index selects one Lanes, not one scalar.
    """
    (array_type, index_type), (array, index) = signature.args[:2], arguments[:2]
    header = context.make_array(array_type)(context, builder, array)
    strides = cgutils.unpack_tuple(builder, header.strides, array_type.ndim)
    itemsize = context.get_abi_sizeof(context.get_data_type(array_type.dtype))
    strides[-1] = ir.Constant(LONG, itemsize)  # every array here is contiguous in its last axis
    if of_lanes:
        strides[-2:] = [ir.Constant(LONG, itemsize * LANES)]  # and the Lanes of a row are contiguous
    address = builder.bitcast(header.data, BYTE.as_pointer())
    for k, numba_type in enumerate(index_type.types):
        position = context.cast(builder, builder.extract_value(index, k), numba_type, types.int64)
        address = builder.gep(address, [builder.mul(position, strides[k])])
    return address, strides


def advance(builder: ir.IRBuilder, address: ir.Value, stride: ir.Value, count: int) -> ir.Value:
    """Return the address plus `count` strides."""
    return builder.gep(address, [builder.mul(stride, ir.Constant(LONG, count))]) if count else address


def load_lanes(builder: ir.IRBuilder, address: ir.Value) -> ir.Value:
    """Emit code that loads sixteen float32."""
    return builder.load(builder.bitcast(address, FLOATS.as_pointer()), align=4)


def store_lanes(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    """Emit code that stores sixteen float32."""
    builder.store(value, builder.bitcast(address, FLOATS.as_pointer()), align=4)


@intrinsic
def load(typing, array, index):
    """Load one Lanes."""

    def generate(context, builder, signature, arguments):
        address, _ = pointer(context, builder, signature, arguments, True)
        return load_lanes(builder, address)

    return lanes(array, index), generate


@intrinsic
def store(typing, array, index, value):
    """Store one Lanes."""

    def generate(context, builder, signature, arguments):
        address, _ = pointer(context, builder, signature, arguments, True)
        store_lanes(builder, arguments[2], address)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


def _generate_tile(axes, shape, step, scalars):
    """Return a function that emits the load of a tile.

    axes: the axes of the array along which the rows and the columns of the tile lie.
    shape: the numbers of rows and columns.
    step: the distance of columns.
    scalars: whether to load one float32 for all lanes, instead of sixteen.
    """
    (row_axis, column_axis), (m, n) = axes, shape

    def generate(context, builder, signature, arguments):
        address, strides = pointer(context, builder, signature, arguments, not scalars)
        starts = [advance(builder, address, strides[row_axis], i) for i in range(m)]
        places = [
            advance(builder, start, strides[column_axis], step * j) for start in starts for j in range(n)
        ]
        if not scalars:
            return cgutils.pack_array(builder, [load_lanes(builder, place) for place in places])
        numbers = [builder.load(builder.bitcast(place, FLOAT.as_pointer())) for place in places]
        return cgutils.pack_array(builder, [broadcast(builder, number) for number in numbers])

    return generate


def _loader(axis, scalars):
    @intrinsic(prefer_literal=True)
    def load_tile(typing, array, index, stride, count):
        if not literals(stride, count):
            return None
        n = count.literal_value
        generate = _generate_tile((0, axis), (1, n), stride.literal_value, scalars)
        return types.UniTuple(lanes, n)(array, index, stride, count), generate

    return load_tile


load_row = _loader(-1, scalars=False)  # (array, index, stride, n): n Lanes along the columns
load_column = _loader(1, scalars=False)  # n Lanes along axis 1, the channels
load_first = _loader(0, scalars=False)  # n Lanes along axis 0
broadcast_first = _loader(0, scalars=True)  # n scalars along axis 0, each in all lanes
broadcast_last = _loader(-1, scalars=True)  # n scalars along the last axis, each in all lanes
broadcast_second = _loader(1, scalars=True)  # n scalars along axis 1, each in all lanes


def _tile_loader(row_axis, scalars=False):
    @intrinsic(prefer_literal=True)
    def load_tile(typing, array, index, stride, rows, columns):
        if not literals(stride, rows, columns):
            return None
        m, n = rows.literal_value, columns.literal_value
        generate = _generate_tile((row_axis, -1), (m, n), stride.literal_value, scalars)
        return types.UniTuple(lanes, m * n)(array, index, stride, rows, columns), generate

    return load_tile


# (array, index, stride, rows, columns): columns lie `stride` apart.
load_tile = _tile_loader(1)  # rows are channels
load_window = _tile_loader(-2)  # rows are those of an image
broadcast_tile = _tile_loader(1, scalars=True)  # scalars, each in all lanes; columns along the last axis


def _storer(row_axis, column_axis):
    @intrinsic(prefer_literal=True)
    def store_tile(typing, array, index, tile, stride, rows, columns):
        if not literals(stride, rows, columns):
            return None
        step, m, n = stride.literal_value, rows.literal_value, columns.literal_value

        def generate(context, builder, signature, arguments):
            address, strides = pointer(context, builder, signature, arguments, True)
            values = unpack(builder, arguments[2], signature.args[2])
            for i in range(m):
                start = advance(builder, address, strides[row_axis], i)
                for j in range(n):
                    place = advance(builder, start, strides[column_axis], step * j)
                    store_lanes(builder, values[i * n + j], place)
            return context.get_dummy_value()

        return types.void(array, index, tile, stride, rows, columns), generate

    return store_tile


store_tile = _storer(1, -1)  # rows are channels (axis 1), columns are positions (the last axis)
store_first = _storer(0, -1)  # rows run along axis 0
store_window = _storer(-2, -1)  # rows are those of an image


def _prefetcher(of_lanes, row_axis):
    @intrinsic(prefer_literal=True)
    def prefetch(typing, array, index, rows, columns):
        if not literals(rows, columns):
            return None
        lines = columns.literal_value * (1 if of_lanes else 2)

        def generate(context, builder, signature, arguments):
            address, strides = pointer(context, builder, signature, arguments, of_lanes)
            to_write, near, data = int(not of_lanes), 3, 1
            how = [ir.Constant(INT, number) for number in (to_write, near, data)]
            for i in range(rows.literal_value):
                start = advance(builder, address, strides[row_axis], i)
                for j in range(lines):
                    place = advance(builder, start, ir.Constant(LONG, LINE), j)
                    call(builder, "llvm.prefetch.p0", ir.VoidType(), place, *how)
            return context.get_dummy_value()

        return types.void(array, index, rows, columns), generate

    return prefetch


LINE = 64  # bytes of a cache line, or of sixteen float32
# (array, index, rows, columns): fetch a tile into the nearest cache; it may lie partly beyond the array's end.
prefetch_window = _prefetcher(True, -2)  # Lanes of an image, to be read
prefetch_features = _prefetcher(False, 0)  # columns of sixteen int64 each, rows along axis 0, to be written


@intrinsic
def load_pixels(typing, images, samples, index):
    """Load sixteen neighboring pixels of each of sixteen samples, images[samples[s], *index + (0 ... 15)], as float32.

    In the result, lanes are pixels; `transpose` makes a tile with samples in lanes.
    """

    def generate(context, builder, signature, arguments):
        header = context.make_array(signature.args[0])(context, builder, arguments[0])
        strides = cgutils.unpack_tuple(builder, header.strides, signature.args[0].ndim)
        numbers = context.make_array(signature.args[1])(context, builder, arguments[1])
        itemsize = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        strides[-1] = ir.Constant(LONG, itemsize)
        start = builder.bitcast(header.data, BYTE.as_pointer())
        for k, numba_type in enumerate(signature.args[2].types):
            position = context.cast(builder, builder.extract_value(arguments[2], k), numba_type, types.int64)
            start = builder.gep(start, [builder.mul(position, strides[k + 1])])
        rows = []
        for s in range(LANES):
            sample = builder.load(builder.gep(numbers.data, [ir.Constant(LONG, s)]))
            address = builder.gep(start, [builder.mul(sample, strides[0])])
            if signature.args[0].dtype == types.uint8:
                pixels = builder.load(builder.bitcast(address, BYTES.as_pointer()), align=1)
                rows.append(builder.uitofp(pixels, FLOATS))
            else:
                rows.append(load_lanes(builder, address))
        return cgutils.pack_array(builder, rows)

    return types.UniTuple(lanes, LANES)(images, samples, index), generate


@intrinsic(prefer_literal=True)
def gather(typing, array, index, row, column, size):
    """Load size * size Lanes, with a different position for each lane s: array[*index, row[s] + i, column[s] + j, s].

    index: whole numbers for all axes but the last three.
    row, column: Lanes of whole numbers.
    size: the side of the square of positions (i, j), a compile-time constant; j varies fastest.

    Sixteen loads of one number each are as fast as the gather instruction of the CPU.
    """
    if not literals(size):
        return None
    n = size.literal_value

    def generate(context, builder, signature, arguments):
        address, strides = pointer(context, builder, signature, arguments, False)
        down, right = strides[-3], LANES * context.get_abi_sizeof(context.get_data_type(types.float32))
        rows, columns = (builder.fptosi(x, INTS) for x in arguments[2:4])
        across = builder.mul(columns, constant(right, INTS))
        steps = broadcast(builder, builder.trunc(down, INT), INTS)
        offsets = builder.add(builder.mul(rows, steps), across)
        starts = []
        for s in range(LANES):
            offset = builder.sext(builder.extract_element(offsets, ir.Constant(INT, s)), LONG)
            starts.append(builder.gep(address, [builder.add(offset, ir.Constant(LONG, s * right // LANES))]))
        values = []
        for i in range(n):
            for j in range(n):
                value = ir.Constant(FLOATS, ir.Undefined)
                for s, start in enumerate(starts):
                    place = builder.gep(advance(builder, start, down, i), [ir.Constant(LONG, j * right)])
                    number = builder.load(builder.bitcast(place, FLOAT.as_pointer()))
                    value = builder.insert_element(value, number, ir.Constant(INT, s))
                values.append(value)
        return cgutils.pack_array(builder, values)

    return types.UniTuple(lanes, n * n)(array, index, row, column, size), generate
