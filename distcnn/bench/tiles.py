"""Tiles measured: every candidate of every kernel at the shapes of LeNet-5 and vgg-small, beside the one in use.

A tile that does not fit into the registers spills: it is several times slower than its neighbours, not a little.
"""

import numpy as np

from distcnn.bench.measure import shares_of_peak
from distcnn.kernels import convolution, dense, tile_sizes
from distcnn.kernels import winograd as winograd_kernels
from distcnn.kernels import winograd_rows as rowwise_kernels
from distcnn.kernels.block_settings import TRAINING
from distcnn.lanes import LANES, aligned
from distcnn.layers import Conv2D
from distcnn.layers.base import BlockContext, LayerBuffers, Value
from distcnn.layers.convolution import winograd_rows as rowwise

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
SLOW = 0.5  # of the best one's speed: it spills


def random(shape):
    """Return an array of normally distributed numbers."""
    array = aligned(shape)
    array[...] = np.random.default_rng(0).standard_normal(shape, np.float32)
    return array


def wiring_of(layer, shape):
    """Return the wiring of one layer alone, with random numbers in all its arrays; a kept output has the shape of x."""
    out = layer.output_shape(shape, *([shape] if layer.reads else []))
    x, y = Value(shape, layer.border(shape)), Value(out)
    dx, dy = Value(shape), Value(out, layer.gradient_border(shape))
    for value in (x, dy):
        value.inside[...] = random(value.inside.shape)
    parameter_specs = layer.parameters(shape) | layer.statistics(shape)
    parameters = {name: random(each.shape) for name, each in parameter_specs.items()}
    sums = {name: np.zeros(array.shape, np.int64) for name, array in parameters.items()}
    buffers = LayerBuffers(x, y, dx, dy, parameters, sums, np.array([2**27, 0]), relu=True, mask=True)
    buffers.saved, buffers.group_shared = (
        {name: aligned(each) for name, each in wanted(shape).items()}
        for wanted in (layer.saved, layer.group_shared)
    )
    if layer.reads:
        buffers.skip, buffers.dskip = Value(shape), Value(shape)
    buffers.context = BlockContext(0)
    buffers.context.settings[TRAINING], buffers.context.weights[:] = 1, 1
    return buffers


def rows_by_columns(most_rows, most_columns):
    """Return all tiles (rows, columns) that might fit into the registers."""
    least, most = (7, 34) if tile_sizes.WIDE else (1, 11)
    pairs = [(m, n) for m in range(1, most_rows + 1) for n in range(1, most_columns + 1)]
    return [(m, n) for m, n in pairs if least <= m * n and m * n + m + n <= most]


def convolution_rows(every):
    """Yield (name, tile in use, {tile: kernel}, arguments, flops) for direct convolution in all three directions."""
    for name, (layer, shape) in CONVOLUTIONS.items():
        layer = layer.using("direct")
        buffers = wiring_of(layer, shape)
        c, _, _ = shape
        o, _, ow = layer.output_shape(shape)
        k, flops = layer.taps[1], LANES * layer.flops(shape)
        ((_, arguments),) = layer.forward(buffers)
        tried = [
            t
            for t in (rows_by_columns(16, 16) if every else tile_sizes.CONVOLUTION)
            if t[0] <= o and t[1] <= ow
        ]
        made = {t: convolution.convolution_forward(*t, 1, True) for t in tried}
        yield f"forward  {name}", tile_sizes.convolution(o, ow), made, arguments, flops
        (_, arguments), *_, (_, data_arguments) = layer.backward(buffers)
        tried = [t for t in rows_by_columns(12, k) if t[0] <= o and (every or t[1] == k)]
        made = {t: convolution.convolution_backward_weights(*t, 1, k // 2) for t in tried}
        yield f"dW       {name}", tile_sizes.convolution_weights(o, k), made, arguments, flops
        if c > 3:  # the first layer of a net has no dx
            tried = [m for m in (range(1, 17) if every else tile_sizes.DATA) if m <= c]
            made = {(m, 1): convolution.convolution_backward_data(m, 1, 1, 1, 1, True) for m in tried}
            yield f"dx       {name}", (tile_sizes.convolution_data(c), 1), made, data_arguments, flops


def rowwise_rows(every):
    """Yield the same for Winograd's algorithm along rows, where it is used."""
    for name, (layer, shape) in CONVOLUTIONS.items():
        if not layer.saved(shape):
            continue
        buffers, (c, *_), (o, _, ow) = wiring_of(layer, shape), shape, layer.output_shape(shape)
        pairs, flops = rowwise.pairs_of(ow), LANES * layer.flops(shape)
        directions = layer.prepare, layer.forward, layer.backward_weights, layer.backward_data
        calls = [call for direction in directions for call in direction(buffers)]
        for kernel, arguments in calls:
            kernel(*arguments)
        _, _, (_, forward), _, (_, weights), _, (_, data) = calls
        tried = rows_by_columns(16, 16) if every else tile_sizes.CONVOLUTION
        made = {
            t: rowwise_kernels.winograd_rows_forward(*t, True) for t in tried if t[0] <= o and t[1] <= pairs
        }
        yield f"rows     {name}", tile_sizes.convolution(o, pairs), made, forward, flops
        made = {
            t: rowwise_kernels.winograd_rows_backward_data(*t, True)
            for t in tried
            if t[0] <= c and t[1] <= pairs
        }
        yield f"rows dx  {name}", tile_sizes.convolution(c, pairs), made, data, flops
        tried = rows_by_columns(16, 8) if every else tile_sizes.WINOGRAD_ROWS_WEIGHTS
        made = {
            t: rowwise_kernels.winograd_rows_backward_weights(*t) for t in tried if t[0] <= o and t[1] <= c
        }
        yield f"rows dW  {name}", tile_sizes.winograd_rows_weights(o, c), made, weights, flops


def dense_rows(every):
    """Yield the same for fully connected layers."""
    for name, (features, outputs) in DENSE.items():
        x, y, w, flops = (
            random((1, features, LANES)),
            random((1, outputs, LANES)),
            random((outputs, features)),
            2 * LANES * features * outputs,
        )
        tried = [m for m in (range(4, 25) if every else tile_sizes.DENSE) if m <= outputs]
        made = {(m, 1): dense.dense_forward(m, True) for m in tried}
        yield (
            f"forward  {name}",
            (tile_sizes.dense(outputs, features), 1),
            made,
            (x, w, random((outputs,)), y),
            flops,
        )
        made = {(m, 1): dense.dense_backward_data(m, True) for m in tried}
        yield f"dx       {name}", (tile_sizes.dense(features), 1), made, (y, w, x, random(x.shape)), flops
        groups = -(-features // LANES)
        tried = rows_by_columns(16, 8) if every else tile_sizes.DENSE_WEIGHTS
        tried = [(m, n) for m, n in tried if groups % n == 0 and (n < groups or features % LANES == 0)]
        made = {t: dense.dense_backward_weights(*t, 0) for t in tried}
        scratch = (
            aligned((1, LANES, groups, LANES)),
            np.zeros((outputs, features), np.int64),
            np.array([2**27, 0]),
        )
        yield f"dW       {name}", tile_sizes.dense_weights(outputs, features), made, (x, y, *scratch), flops


def winograd_rows(every):
    """Yield the same for the products at Winograd's points."""
    for name, (o, c, count) in PRODUCTS.items():
        flops, groups = 2 * 36 * LANES * o * c * count, c // LANES
        u, v, m = random((36, o // 4, c, 4)), random((36, c, count, LANES)), random((36, o, count, LANES))
        made = {(4, n): winograd_kernels.winograd_products(n) for n in (1, 2, 4) if n <= count}
        yield f"points   {name}", (4, tile_sizes.winograd(count)), made, (u, v, m), flops
        tried = rows_by_columns(16, 8) if every else tile_sizes.WINOGRAD_WEIGHTS
        made = {
            t: winograd_kernels.winograd_weight_products(*t)
            for t in tried
            if o % t[0] == 0 and groups % t[1] == 0
        }
        arrays = v, m, 0, aligned((groups, count, LANES, LANES)), aligned((36, o, groups, LANES))
        yield f"dW points {name}", tile_sizes.winograd_weights(o, c), made, arrays, flops


def table(every=False, wanted=""):
    """Print a line for each kernel and shape whose name contains `wanted`; return how many tiles in use are slow."""
    failures = 0
    print("share of the peak of fused multiply-adds, median of the rounds; * in use, ! spills", flush=True)
    for rows in (convolution_rows, rowwise_rows, dense_rows, winograd_rows):
        for name, used, made, arguments, flops in rows(every):
            if wanted not in name:
                continue
            calls = {t: (lambda k=k, a=arguments: k(*a)) for t, k in made.items()}
            shares = {t: np.median(s) for t, s in shares_of_peak(calls, flops).items()}
            most = max(shares.values())
            failures += shares.get(used, 0) < SLOW * most
            marks = {t: "*" * (t == used) + "!" * bool(s < SLOW * most) for t, s in shares.items()}
            fastest = sorted(shares, key=shares.get, reverse=True)
            print(
                f"{name:34s}", *(f"{m}x{n} {shares[m, n]:.2f}{marks[m, n]}" for m, n in fastest), flush=True
            )
    return failures
