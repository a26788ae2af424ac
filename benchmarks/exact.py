"""Measure the cost of exact sums: a LeNet-5 step with them compared to one with float32 sums, on one core.

    python benchmarks/exact.py

The kernels that add to gradients, and the update that reads gradients, are compiled a second time for float32 sums,
without rounding to quanta and without a guard. The time that these kernels save is subtracted from the time of a step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from rounds import Table, arguments
from work import stepping, training_on_noise

from distcnn.bench.measure import best
from distcnn.bench.tiles import buffers_of
from distcnn.kernels.optimizers import sgd_update
from distcnn.lanes import LANES
from distcnn.lanes.memory import advance, pointer
from distcnn.lanes.sums import ORDER, fold
from distcnn.lanes.types import FLOAT, FLOATS, INT, LONG, constant, literals, unpack

if TYPE_CHECKING:
    from distcnn.kernels.jit import Kernel
    from distcnn.layers.base import LayerBuffers
    from distcnn.network.net import Net

BATCH_SIZE = 64


def add(builder: ir.IRBuilder, place: ir.Value, kind: ir.Type, addend: ir.Value, counts: ir.Value) -> None:
    """Emit code that adds to a number or vector in memory, if the boolean `counts` is true."""
    place = builder.bitcast(place, kind.as_pointer())
    zero = constant(0.0) if kind is FLOATS else ir.Constant(FLOAT, 0)
    total = builder.fadd(builder.load(place, align=4), builder.select(counts, addend, zero))
    builder.store(total, place, align=4)


@intrinsic(prefer_literal=True)
def add_sums(typing, array, index, tile, rows, columns, skip_rows, skip_columns, guard):
    """Do what `lanes.sums.add_sums` does, in float32."""
    if not literals(rows, columns):
        return None
    n = columns.literal_value

    def generate(context, builder, signature, given):
        address, strides = pointer(context, builder, signature, given, False)
        values, sums = unpack(builder, given[2], signature.args[2]), []
        for start in range(0, len(values), LANES):
            group = values[start : start + LANES]
            folded = fold(builder, group + [constant(0.0)] * (LANES - len(group)))
            sums += [builder.extract_element(folded, ir.Constant(INT, ORDER[k])) for k in range(len(group))]
        first_row, first_column = (
            context.cast(builder, given[k], signature.args[k], types.int64) for k in (5, 6)
        )
        for k, value in enumerate(sums):
            i, j = divmod(k, n)
            counts = builder.and_(
                builder.icmp_signed(">=", ir.Constant(LONG, i), first_row),
                builder.icmp_signed(">=", ir.Constant(LONG, j), first_column),
            )
            place = advance(builder, advance(builder, address, strides[0], i), strides[-1], j)
            add(builder, place, FLOAT, value, counts)
        return context.get_dummy_value()

    return types.void(array, index, tile, rows, columns, skip_rows, skip_columns, guard), generate


@intrinsic(prefer_literal=True)
def add_features(typing, array, index, tile, rows, columns, skip_rows, guard):
    """Do what `lanes.sums.add_features` does, in float32."""
    if not literals(rows, columns):
        return None

    def generate(context, builder, signature, given):
        address, strides = pointer(context, builder, signature, given, False)
        first_row = context.cast(builder, given[5], signature.args[5], types.int64)
        for k, value in enumerate(unpack(builder, given[2], signature.args[2])):
            i, j = divmod(k, columns.literal_value)
            counts = builder.icmp_signed(">=", ir.Constant(LONG, i), first_row)
            place = advance(builder, advance(builder, address, strides[0], i), strides[-1], LANES * j)
            add(builder, place, FLOATS, value, counts)
        return context.get_dummy_value()

    return types.void(array, index, tile, rows, columns, skip_rows, guard), generate


def in_float32(kernel: Kernel, given: tuple, sums: Sequence[np.ndarray]) -> tuple[Callable, list]:
    """Return (function, arguments) of a kernel compiled for float32 in place of the int64 arrays `sums`."""
    kinds, given = list(kernel.signature.args), list(given)
    for place in (k for k, each in enumerate(given) if any(each is one for one in sums)):
        kinds[place] = types.Array(types.float32, kinds[place].ndim, kinds[place].layout)
        given[place] = np.zeros(given[place].shape, np.float32)
    names, patched = {"add_sums": add_sums, "add_features": add_features}, []
    for module in [each for name, each in sys.modules.items() if name.startswith("distcnn.kernels")]:
        for name in names.keys() & vars(module).keys():
            patched.append((module, name, getattr(module, name)))
            setattr(module, name, names[name])
    compiled = njit(types.void(*kinds), nogil=True, error_model="numpy")(kernel.function)
    for module, name, before in patched:
        setattr(module, name, before)
    return compiled.overloads[tuple(kinds)].entry_point, given


def adding_calls(
    net: Net, otherwise: Callable[[Kernel, tuple, list], tuple] = in_float32
) -> tuple[list[tuple], list[tuple]]:
    """Return two lists: the calls of one block that add to sums, and otherwise(kernel, arguments, sums) for each."""
    exact, plain = [], []
    for layer, shape in zip(net.layers, net.shapes, strict=False):
        buffers = buffers_of(layer, shape)
        for kernel, given in layer.backward(buffers):
            sums = [each for each in given if adds_to(buffers, each)]
            if sums:
                exact.append((kernel.compiled, given))
                plain.append(otherwise(kernel, given, sums))
    return exact, plain


def updating_calls(size: int) -> tuple[tuple, tuple]:
    """Return the call that updates `size` parameters from exact sums, and the same call for float32 sums."""
    given = *np.zeros((2, size), np.float32), np.zeros(size, np.int64), 1.0, 0.01, 0.9, 0.0
    return (sgd_update.compiled, given), in_float32(sgd_update, given, given[2:3])


def adds_to(buffers: LayerBuffers, given: object) -> bool:
    """Return whether an argument of a kernel is one of the layer's exact sums, or a view of one."""
    sums = buffers.sums.values()
    return isinstance(given, np.ndarray) and any(np.may_share_memory(given, each) for each in sums)


def main() -> None:
    """Measure, print and save."""
    table = Table("exact", arguments(__doc__), rounds=15)
    trainer = training_on_noise("lenet5", BATCH_SIZE)
    step, exact, plain = stepping(trainer), *adding_calls(trainer.net)
    updates = updating_calls(trainer.net.trained)

    def all_of(calls, update):
        def run():
            for _ in range(BATCH_SIZE // LANES):
                for kernel, given in calls:
                    kernel(*given)
            update[0](*update[1])

        return run

    ours, theirs = (all_of(*each) for each in zip((exact, plain), updates, strict=True))
    for call in (step, ours, theirs):
        call()

    whole = [0.0]  # a step's time in this round

    def with_them():
        whole[0] = best(step, 9)
        return whole[0]

    def without():
        exact_time, plain_time = np.min([(best(ours, 1), best(theirs, 1)) for _ in range(9)], axis=0)
        return whole[0] - exact_time + plain_time

    table.row(f"LeNet-5 step, batch {BATCH_SIZE}", with_them, {"with float32 sums": without})
    table.save()


if __name__ == "__main__":
    main()
