"""Fully connected layers as matrix products: forward and both gradients.

Shapes: x [blocks, features, 16], w [outputs, features], y and dy [blocks, outputs, 16].
"""

from distcnn.kernels.jit import specialized
from distcnn.lanes import (
    add_features,
    broadcast_first,
    broadcast_second,
    load_column,
    load_row,
    prefetch_features,
    store_tile,
    tile_fma,
    tile_relu,
    tile_where_positive,
    tile_zeros,
    transpose,
)

# How many rows of w `dense_backward_data_far` reads at a time, a cache line of each: with 16 rows and tiles of 16
# features, a layer of 9216-4096 reaches 73 % of peak; with 32 rows and tiles of 6 features 40 %.
ROWS = 16


@specialized("f4:3 f4:2 f4:1 f4:3")
def dense_forward(rows, relu):
    """y[o] = bias[o] + sum over i of w[o, i] * x[i], for `rows` outputs at a time; relu as in kernels/convolution."""

    def function(x, w, bias, y):
        outputs, features = w.shape
        for n in range(x.shape[0]):
            for start in range(0, outputs, rows):
                o = min(start, outputs - rows)
                tile = broadcast_first(bias, (o,), 1, rows)
                for i in range(features):
                    tile = tile_fma(tile, broadcast_first(w, (o, i), 1, rows), load_row(x, (n, i), 1, 1))
                if relu:
                    tile = tile_relu(tile)
                store_tile(y, (n, o), tile, 1, rows, 1)

    return function


@specialized("f4:3 f4:2 f4:3 f4:3")
def dense_backward_data(rows, mask):
    """dx[i] = sum over o of w[o, i] * dy[o], for `rows` features at a time; mask as in kernels/convolution."""

    def function(dy, w, x, dx):
        outputs, features = w.shape
        for n in range(dy.shape[0]):
            for start in range(0, features, rows):
                i = min(start, features - rows)
                tile = tile_zeros(rows)
                for o in range(outputs):
                    tile = tile_fma(tile, broadcast_second(w, (o, i), 1, rows), load_row(dy, (n, o), 1, 1))
                if mask:
                    tile = tile_where_positive(load_column(x, (n, i), 1, rows), tile)
                store_tile(dx, (n, i), tile, 1, rows, 1)

    return function


@specialized("f4:3 f4:2 f4:3 f4:3")
def dense_backward_data_far(rows, mask):
    """Compute the same as `dense_backward_data`, with the same bits, if one column of w exceeds the cache.

    This happens if the rows of w are far apart. The kernel reads ROWS rows at a time and adds to the sums in dx.
    """

    def function(dy, w, x, dx):
        outputs, features = w.shape
        for n in range(dy.shape[0]):
            for begin in range(0, outputs, ROWS):
                end = min(begin + ROWS, outputs)
                for start in range(0, features - rows + 1, rows):
                    tile = load_column(dx, (n, start), 1, rows) if begin else tile_zeros(rows)
                    for o in range(begin, end):
                        weights = broadcast_second(w, (o, start), 1, rows)
                        tile = tile_fma(tile, weights, load_row(dy, (n, o), 1, 1))
                    if mask and end == outputs:
                        tile = tile_where_positive(load_column(x, (n, start), 1, rows), tile)
                    store_tile(dx, (n, start), tile, 1, rows, 1)
                for i in range(features - features % rows, features):
                    tile = load_column(dx, (n, i), 1, 1) if begin else tile_zeros(1)
                    for o in range(begin, end):
                        tile = tile_fma(tile, broadcast_second(w, (o, i), 1, 1), load_row(dy, (n, o), 1, 1))
                    if mask and end == outputs:
                        tile = tile_where_positive(load_column(x, (n, i), 1, 1), tile)
                    store_tile(dx, (n, i), tile, 1, 1, 1)

    return function


@specialized("f4:3 f4:3 f4:4 i8:2 i8:1")
def dense_backward_weights(rows, columns, ahead):
    """g[o, i] += sum over samples s of dy[o, s] * x[i, s], exact sums; at least 16 features.

    x is transposed first, so that features lie in lanes and no sum over lanes is needed. A tile is `rows` outputs by
    `columns` groups of 16 features; columns divides the number of groups. The last group may overlap the previous one;
    the features that it repeats are set to 0 in it.

    ahead: how many tiles ahead the sums are prefetched. If the sums do not fit into a cache, tiles of 4 x 1 with an
        `ahead` of 2 reach 90 % of the speed of memory, tiles of 2 x 8 without prefetching 50 %.
    xt: scratch [1, 16 samples, groups of 16 features, 16].
    guard: as in lanes.sums.
    """
    size, span = rows * columns, 16 * columns

    def function(x, dy, xt, g, guard):
        outputs, features = g.shape
        groups = xt.shape[2]
        for n in range(x.shape[0]):
            for k in range(groups):
                begin = k // columns * span
                first = min(begin, features - span)
                values = load_column(x, (n, first + 16 * (k % columns)), 1, 16)
                store_tile(xt, (0, 0, k), transpose(values), 1, 16, 1)
                if k % columns == 0:
                    for s in range(16):
                        for repeated in range(begin - first):
                            xt[0, s, k, repeated] = 0.0
            for start in range(0, outputs, rows):
                o = min(start, outputs - rows)
                for k in range(0, groups, columns):
                    if ahead:
                        prefetch_features(g, (o, 16 * k + ahead * span), rows, columns)
                    tile = tile_zeros(size)
                    for s in range(16):
                        outer = broadcast_second(dy, (n, o, s), 1, rows)
                        tile = tile_fma(tile, outer, load_row(xt, (0, s, k), 1, columns))
                    add_features(g, (o, min(16 * k, features - span)), tile, rows, columns, start - o, guard)

    return function
