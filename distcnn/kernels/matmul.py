"""A 1 x 1 convolution as a product of matrices: the weights times the channels of each pixel.

Shapes: x and dx [1, c, h, w, 16], y and dy [1, o, oh, ow, 16], weights [o, c]. Neighboring channels of a pixel lie far
apart in memory, mostly by powers of two, so that they fall into few sets of the cache. Therefore all channels of a few
pixels are first copied to contiguous memory, and all outputs of these pixels are computed from the copy.
"""

from distcnn.kernels.jit import kernel, specialized
from distcnn.lanes import (
    add_features,
    add_sums,
    broadcast_first,
    broadcast_last,
    load_column,
    load_row,
    load_tile,
    store_first,
    store_tile,
    tile_fma,
    tile_relu,
    tile_repeat,
    tile_sum_by_halves,
    tile_where_positive,
    tile_zeros,
    transpose,
)


@specialized("f4:5 f4:2 f4:1 i8 i8 f4:5 f4:3 f4:5")
def matmul(rows, columns, stride, spread, relu, mask):
    """y[o, r, q] = bias[o] + sum over c of w[o, c] * x[c, r, q], c ascending; a tile is rows outputs by columns pixels.

    stride, down: only every stride-th column and every down-th row of x are read.
    spread, apart: only every spread-th column and every apart-th row of y are written.
    relu: whether y is the maximum of the sum and 0.
    mask: whether y is 0 where `test`, which has the shape of y, is not above 0.
    side: scratch [c, columns, 16] for the copy.
    """

    def function(x, w, bias, down, apart, test, side, y):
        outputs, channels = w.shape
        width = (y.shape[3] + spread - 1) // spread
        for r in range((y.shape[2] + apart - 1) // apart):
            for begin in range(0, width, columns):
                q = min(begin, width - columns)
                for c in range(channels):
                    pixels = load_row(x, (0, c, r * down, q * stride), stride, columns)
                    store_first(side[c], (0,), pixels, 1, columns, 1)
                for start in range(0, outputs, rows):
                    o = min(start, outputs - rows)
                    tile = tile_repeat(broadcast_first(bias, (o,), 1, rows), columns)
                    for c in range(channels):
                        weights = broadcast_first(w, (o, c), 1, rows)
                        tile = tile_fma(tile, weights, load_row(side, (c, 0), 1, columns))
                    at = 0, o, r * apart, q * spread
                    if relu:
                        tile = tile_relu(tile)
                    if mask:
                        tile = tile_where_positive(load_tile(test, at, spread, rows, columns), tile)
                    store_tile(y, at, tile, spread, rows, columns)

    return function


@specialized("f4:5 f4:5 i8 i8 i8:2 i8:1")
def matmul_backward_weights(rows, columns):
    """g[o, c] += sum over pixels and samples of dy[o, r, q] * x[c, r * down, q * across], for outputs by channels."""
    size = rows * columns

    def function(x, dy, down, across, g, guard):
        outputs, channels = g.shape
        for begin in range(0, channels, columns):
            c = min(begin, channels - columns)
            for start in range(0, outputs, rows):
                o = min(start, outputs - rows)
                tile = tile_zeros(size)
                for r in range(dy.shape[2]):
                    for q in range(dy.shape[3]):
                        outer = load_column(dy, (0, o, r, q), 1, rows)
                        inner = load_column(x, (0, c, r * down, q * across), 1, columns)
                        tile = tile_fma(tile, outer, inner)
                add_sums(g, (o, c), tile, rows, columns, start - o, begin - c, guard)

    return function


@kernel("f4:3 f4:3 f4:4 i8:2 i8:1")
def matmul_backward_weights_of_pixel(x, dy, xt, g, guard):
    """Compute the same as `matmul_backward_weights`, with the same bits, for one pixel of at least 16 channels.

    x is transposed, as in kernels/dense, but samples are summed in the order of sums over lanes, by halves. This is 5
    times as fast.

    x, dy: [1, c, 16] and [1, o, 16].
    xt: scratch [1, 16 samples, groups of 16 channels, 16].
    """
    outputs, channels = g.shape
    for k in range(xt.shape[2]):
        c = min(16 * k, channels - 16)
        store_tile(xt, (0, 0, k), transpose(load_column(x, (0, c), 1, 16)), 1, 16, 1)
        for s in range(16):
            for repeated in range(16 * k - c):
                xt[0, s, k, repeated] = 0.0
        samples = load_column(xt, (0, 0, k), 1, 16)
        for o in range(outputs):
            total = tile_sum_by_halves(samples, broadcast_last(dy, (0, o, 0), 1, 16))
            add_features(g, (o, c), (total,), 1, 1, 0, guard)


@kernel("f4:2 f4:2")
def transpose_matrix(w, transposed):
    """transposed[c, o] = w[o, c]."""
    for o in range(w.shape[0]):
        for c in range(w.shape[1]):
            transposed[c, o] = w[o, c]
