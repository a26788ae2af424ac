"""Measure register tiles: all candidates for every kernel, at the shapes of LeNet-5 and vgg-small.

If a tile does not fit into the registers, it spills: then it is several times slower than slightly smaller tiles.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from distcnn.bench.measure import shares_of_peak
from distcnn.kernels import convolution, dense, tile_sizes
from distcnn.kernels import winograd as winograd_kernels
from distcnn.kernels import winograd_rows as rows_kernels
from distcnn.kernels.jit import Kernel
from distcnn.lanes import LANES, aligned
from distcnn.layers import Conv2D, ReLU
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.context import BlockContext
from distcnn.layers.convolution import winograd_rows
from distcnn.layers.declarations import Shape
from distcnn.layers.values import Value, allocate_arrays
from distcnn.numerics.guard import OverflowGuard

Tile = tuple[int, int]  # rows, columns

CONVOLUTIONS = {  # layer, shape of its input
    "LeNet-5 1-6 5x5 at 28": (Conv2D(6, 5, padding=2), (1, 28, 28)),
    "LeNet-5 6-16 5x5 at 14": (Conv2D(16, 5), (6, 14, 14)),
    "vgg 3-32 3x3 at 32": (Conv2D(32, 3, padding=1), (3, 32, 32)),
    "vgg 32-32 3x3 at 32": (Conv2D(32, 3, padding=1), (32, 32, 32)),
    "vgg 64-64 3x3 at 16": (Conv2D(64, 3, padding=1), (64, 16, 16)),
    "vgg 128-128 3x3 at 8": (Conv2D(128, 3, padding=1), (128, 8, 8)),
}
DENSE = {"LeNet-5 400-120": (400, 120), "LeNet-5 120-84": (120, 84), "vgg 2048-128": (2048, 128)}
PRODUCTS = {"vgg 32-32": (32, 32, 4), "vgg 64-64": (64, 64, 4), "vgg 128-128": (128, 128, 4)}
SLOW = 0.5  # of the speed of the fastest tile: a slower tile spills


class Row(NamedTuple):
    """A kernel at one shape: one line of the output.

    name: the name of the line.
    used: the tile that distcnn uses.
    made: for each tile to measure, the kernel with that tile.
    arguments: the arguments of all these kernels.
    flops: the number of operations of a call.
    """

    name: str
    used: Tile
    made: dict[Tile, Kernel]
    arguments: tuple
    flops: int


def random(shape: Shape) -> np.ndarray:
    """Return an array of normally distributed numbers."""
    array = aligned(shape)
    array[...] = np.random.default_rng(0).standard_normal(shape, np.float32)
    return array


def buffers_of(layer: Layer, shape: Shape) -> LayerBuffers:
    """Return the buffers of one layer without a net, with random numbers in all arrays that kernels read.

    The layer is fused with a ReLU before and after it. If it reads a saved output, that has the shape of x.

    layer: the layer.
    shape: the shape of x.
    """
    skip, dskip = (Value(shape), Value(shape)) if layer.reads else (None, None)
    out = layer.output_shape(shape, *([shape] if layer.reads else []))
    x, y = Value(shape, layer.border(shape)), Value(out)
    dx, dy = Value(shape), Value(out, layer.gradient_border(shape))
    for value in (x, dy):
        value.inside[...] = random(value.inside.shape)
    specs = layer.parameters(shape) | layer.statistics(shape)
    context = BlockContext(0)
    context.training, context.weights[:] = True, 1
    return LayerBuffers(
        *(x, y, dx, dy),
        parameters={name: random(each.shape) for name, each in specs.items()},
        sums={name: np.zeros(each.shape, np.int64) for name, each in specs.items()},
        guard=OverflowGuard().array,
        epilogue=ReLU(),
        prologue=ReLU(),
        saved=allocate_arrays(layer.saved(shape)),
        prepared=allocate_arrays(layer.prepared(shape, True)),
        group_shared=allocate_arrays(layer.group_shared(shape)),
        context=context,
        skip=skip,
        dskip=dskip,
    )


def rows_by_columns(most_rows: int, most_columns: int) -> list[Tile]:
    """Return all tiles (rows, columns) up to a size that might fit into the registers."""
    least, most = (7, 34) if tile_sizes.WIDE else (1, 11)
    pairs = [(m, n) for m in range(1, most_rows + 1) for n in range(1, most_columns + 1)]
    return [(m, n) for m, n in pairs if least <= m * n and m * n + m + n <= most]


def convolution_rows(every: bool) -> Iterator[Row]:
    """Yield the lines for direct convolution in all three directions; every: try all tiles that might fit."""
    for name, (layer, shape) in CONVOLUTIONS.items():
        layer = layer.using("direct")
        buffers = buffers_of(layer, shape)
        c, (o, _, ow) = shape[0], layer.output_shape(shape)
        k, flops = layer.taps[1], LANES * layer.flops(shape)
        ((_, arguments),) = layer.forward(buffers)
        tried = rows_by_columns(16, 16) if every else tile_sizes.CONVOLUTION
        tried = [(m, n) for m, n in tried if m <= o and n <= ow]
        made = {t: convolution.convolution_forward(*t, 1, True) for t in tried}
        yield Row(f"forward  {name}", tile_sizes.convolution(o, ow), made, arguments, flops)
        (_, arguments), *_, (_, data_arguments) = layer.backward(buffers)
        used = tile_sizes.convolution_weights(o, k)
        tried = [t for t in rows_by_columns(12, k) if t[0] <= o and (every or t[1] == used[1])]
        made = {t: convolution.convolution_backward_weights(*t, 1, k // 2) for t in tried}
        yield Row(f"dW       {name}", used, made, arguments, flops)
        if c > 3:  # the first layer of a net has no dx
            heights = [m for m in (range(1, 17) if every else tile_sizes.DATA) if m <= c]
            made = {(m, 1): convolution.convolution_backward_data(m, 1, 1, 1, 1, True) for m in heights}
            used = tile_sizes.convolution_data(c), 1
            yield Row(f"dx       {name}", used, made, data_arguments, flops)


def winograd_along_rows(every: bool) -> Iterator[Row]:
    """Yield the lines for Winograd's algorithm along rows, for the layers that use it; every: see above."""
    for name, (layer, shape) in CONVOLUTIONS.items():
        if not layer.saved(shape):
            continue
        buffers, (c, *_), (o, _, ow) = buffers_of(layer, shape), shape, layer.output_shape(shape)
        pairs, flops = winograd_rows.pairs_of(ow), LANES * layer.flops(shape)
        directions = layer.prepare, layer.forward, layer.backward_weights, layer.backward_data
        calls = [call for direction in directions for call in direction(buffers)]
        for kernel, arguments in calls:
            kernel(*arguments)
        _, _, (_, forward), _, (_, weights), _, (_, data) = calls
        tried = rows_by_columns(16, 16) if every else tile_sizes.CONVOLUTION
        tried = [t for t in tried if t[1] <= pairs]
        made = {t: rows_kernels.winograd_rows_forward(*t, True) for t in tried if t[0] <= o}
        yield Row(f"rows     {name}", tile_sizes.convolution(o, pairs), made, forward, flops)
        made = {t: rows_kernels.winograd_rows_backward_data(*t, True) for t in tried if t[0] <= c}
        yield Row(f"rows dx  {name}", tile_sizes.convolution(c, pairs), made, data, flops)
        tried = rows_by_columns(16, 8) if every else tile_sizes.WINOGRAD_ROWS_WEIGHTS
        made = {t: rows_kernels.winograd_rows_backward_weights(*t) for t in tried if t[0] <= o and t[1] <= c}
        yield Row(f"rows dW  {name}", tile_sizes.winograd_rows_weights(o, c), made, weights, flops)


def dense_rows(every: bool) -> Iterator[Row]:
    """Yield the lines for fully connected layers; every: see above."""
    for name, (features, outputs) in DENSE.items():
        x, y, w = random((1, features, LANES)), random((1, outputs, LANES)), random((outputs, features))
        flops, groups = 2 * LANES * features * outputs, -(-features // LANES)
        heights = [m for m in (range(4, 25) if every else tile_sizes.DENSE) if m <= outputs]
        made = {(m, 1): dense.dense_forward(m, True) for m in heights}
        used, arguments = (tile_sizes.dense(outputs, features), 1), (x, w, random((outputs,)), y)
        yield Row(f"forward  {name}", used, made, arguments, flops)
        made = {(m, 1): dense.dense_backward_data(m, True) for m in heights}
        used, arguments = (tile_sizes.dense(features), 1), (y, w, x, random(x.shape))
        yield Row(f"dx       {name}", used, made, arguments, flops)
        tried = rows_by_columns(16, 8) if every else tile_sizes.DENSE_WEIGHTS
        tried = [(m, n) for m, n in tried if groups % n == 0 and (n < groups or features % LANES == 0)]
        made = {t: dense.dense_backward_weights(*t, 0) for t in tried}
        transposed, sums = aligned((1, LANES, groups, LANES)), np.zeros((outputs, features), np.int64)
        given = x, y, transposed, sums, OverflowGuard().array
        yield Row(f"dW       {name}", tile_sizes.dense_weights(outputs, features), made, given, flops)


def winograd_points(every: bool) -> Iterator[Row]:
    """Yield the lines for the matrix products at the points of Winograd's algorithm; every: see above."""
    for name, (o, c, count) in PRODUCTS.items():
        flops, groups = 2 * 36 * LANES * o * c * count, c // LANES
        u, v, m = random((36, o // 4, c, 4)), random((36, c, count, LANES)), random((36, o, count, LANES))
        made = {(4, n): winograd_kernels.winograd_products(n) for n in (1, 2, 4) if n <= count}
        yield Row(f"points   {name}", (4, tile_sizes.winograd(count)), made, (u, v, m), flops)
        tried = rows_by_columns(16, 8) if every else tile_sizes.WINOGRAD_WEIGHTS
        tried = [t for t in tried if o % t[0] == 0 and groups % t[1] == 0]
        made = {t: winograd_kernels.winograd_weight_products(*t) for t in tried}
        arguments = v, m, 0, aligned((groups, count, LANES, LANES)), aligned((36, o, groups, LANES))
        yield Row(f"dW points {name}", tile_sizes.winograd_weights(o, c), made, arguments, flops)


def table(every: bool = False, wanted: str = "") -> int:
    """Measure and print all lines; return how many tiles that distcnn uses are slow.

    every: try every tile that might fit, not only the candidates of distcnn.kernels.tile_sizes.
    wanted: print only lines whose name contains this text.
    """
    failures = 0
    print("share of the peak of fused multiply-adds, median of the rounds; * in use, ! spills", flush=True)
    for rows in (convolution_rows, winograd_along_rows, dense_rows, winograd_points):
        for row in rows(every):
            if wanted in row.name:
                failures += show(row)
    return failures


def show(row: Row) -> bool:
    """Measure and print a line; return whether the tile that distcnn uses is slow."""
    calls = {t: (lambda k=k: k(*row.arguments)) for t, k in row.made.items()}
    shares = {t: np.median(s) for t, s in shares_of_peak(calls, row.flops).items()}
    least = SLOW * max(shares.values())
    marks = {t: "*" * (t == row.used) + "!" * bool(s < least) for t, s in shares.items()}
    fastest = sorted(shares, key=lambda tile: shares[tile], reverse=True)
    words = [f"{m}x{n} {shares[m, n]:.2f}{marks[m, n]}" for m, n in fastest]
    print(f"{row.name:34s}", *words, flush=True)
    return bool(shares.get(row.used, 0) < least)
