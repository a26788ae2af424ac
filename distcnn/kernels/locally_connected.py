"""Local connections without weight sharing: a separate fully connected layer at each position of the output.

Shapes: x [blocks, c, h, w, 16] with the zeros of the padding around its images, dx without them, y and dy [blocks, o,
oh, ow, 16], weights and their exact sums [oh, ow, o, features], features = c * kh * kw; bias [oh, ow, o]. Every weight
is used once per block, so that each fused multiply-add needs a load. The forward pass and dx read windows in the image,
as copying each window would take half of the time. Only the gradient of the weights copies a window, to transpose it.
"""

from numba import njit

from distcnn.kernels.jit import specialized
from distcnn.lanes import (
    add_features,
    add_sums,
    broadcast_first,
    broadcast_last,
    broadcast_tile,
    load,
    load_column,
    load_row,
    load_window,
    splat,
    store,
    store_first,
    store_tile,
    store_window,
    tile_add,
    tile_dot,
    tile_fma,
    tile_repeat,
    tile_where_positive,
    tile_zeros,
    transpose,
)


@specialized("f4:5 f4:4 f4:3 axis axis f4:5")
def local_forward(rows, kernel_width):
    """y[o, r, q] = bias[r, q, o] + sum over c, i, j of w[r, q, o, (c, i, j)] * x[c, i, j of the window].

    A tile is `rows` outputs. With `kernel_width` as a constant, 4 outputs of 5 x 5 pixels: 91 % of peak, else 65 %.
    """

    def function(x, w, bias, down, across, y):
        outputs = w.shape[2]
        for n in range(y.shape[0]):
            for r in range(y.shape[2]):
                for q in range(y.shape[3]):
                    top, left = r * down.stride, q * across.stride
                    for start in range(0, outputs, rows):
                        o, f = min(start, outputs - rows), 0
                        tile = broadcast_first(bias[r, q], (o,), 1, rows)
                        for c in range(x.shape[1]):
                            for i in range(down.kernel_size):
                                for j in range(kernel_width):
                                    taps = broadcast_first(w[r, q], (o, f), 1, rows)
                                    at = n, c, top + i * down.dilation, left + j * across.dilation
                                    tile = tile_fma(tile, taps, load_row(x, at, 1, 1))
                                    f += 1
                        store_tile(y, (n, o, r, q), tile, 1, rows, 1)

    return function


@specialized("f4:5 f4:4 axis axis f4:5 f4:5")
def local_backward_data(rows, columns, dilation):
    """dx[c, h, w] = sum over its windows (r, q) of the sum over o of w[r, q, o, (c, i, j)] * dy[o, r, q].

    A tile is `rows` by `columns` taps of a window in one map. Rows and columns divide the numbers of taps; a tile has
    more than one row only if taps are adjacent.

    dilation: the dilation of columns, a compile-time constant.
    wide: scratch [1, c, h, w with the padding, 16] for the sums, which are then copied to dx without the padding.
    """
    size = rows * columns

    def function(dy, w, down, across, wide, dx):
        for n in range(dy.shape[0]):
            _clear(wide)
            for r in range(dy.shape[2]):
                for q in range(dy.shape[3]):
                    top, left, f = r * down.stride, q * across.stride, 0
                    for c in range(dx.shape[1]):
                        for i in range(0, down.kernel_size, rows):
                            for j in range(0, across.kernel_size, columns):
                                tile = tile_zeros(size)
                                for o in range(w.shape[2]):
                                    taps = broadcast_last(w[r, q], (o, f), 1, size)
                                    tile = tile_fma(tile, load_row(dy, (n, o, r, q), 1, 1), taps)
                                at = 0, c, top + i * down.dilation, left + j * dilation
                                tile = tile_add(load_window(wide, at, dilation, rows, columns), tile)
                                store_window(wide, at, tile, dilation, rows, columns)
                                f += size
            for c in range(dx.shape[1]):
                for h in range(dx.shape[2]):
                    for v in range(dx.shape[3]):
                        store(dx, (n, c, h, v), load(wide, (0, c, h + down.padding, v + across.padding)))

    return function


@njit(inline="always")
def _clear(wide):
    for c in range(wide.shape[1]):
        for h in range(wide.shape[2]):
            for v in range(wide.shape[3]):
                store(wide, (0, c, h, v), splat(0.0))


@specialized("f4:5 f4:5 axis axis f4:3 f4:2 i8:4 i8:1")
def local_backward_weights(rows, kernel_width, dilation):
    """g[r, q, o, (c, i, j)] += sum over samples s of dy[o, r, q, s] * x[c, i, j of the window, s].

    As in a fully connected layer, x is transposed so that features lie in lanes, 16 of them at a time; at least 16
    features. The last group of 16 may overlap the previous one; the products of the features that it repeats are set
    to 0, which is 1.6 times as fast as setting these features to 0.

    patch: scratch [1, features, 16] for a copy of the window.
    fresh: [groups, 16], 0 for features that the last group repeats, else 1.
    """

    def function(x, dy, down, across, patch, fresh, g, guard):
        outputs, features = g.shape[2], g.shape[3]
        for n in range(dy.shape[0]):
            for r in range(dy.shape[2]):
                for q in range(dy.shape[3]):
                    top, left, f = r * down.stride, q * across.stride, 0
                    for c in range(x.shape[1]):
                        for i in range(down.kernel_size):
                            row = load_row(x, (n, c, top + i * down.dilation, left), dilation, kernel_width)
                            store_first(patch[0], (f,), row, 1, kernel_width, 1)
                            f += kernel_width
                    for k in range(fresh.shape[0]):
                        f = min(16 * k, features - 16)
                        test = load_row(fresh, (k,), 1, 1)
                        samples = transpose(load_column(patch, (0, f), 1, 16))
                        for start in range(0, outputs, rows):
                            o = min(start, outputs - rows)
                            tile = tile_dot(broadcast_tile(dy, (n, o, r, q, 0), 1, rows, 16), samples)
                            tile = tile_where_positive(tile_repeat(test, rows), tile)
                            add_features(g[r, q], (o, f), tile, rows, 1, start - o, guard)

    return function


@specialized("f4:5 f4:5 axis axis i8:4 i8:1")
def local_backward_few_weights(rows):
    """Compute the same as `local_backward_weights` for fewer than 16 features, by sums over lanes."""

    def function(x, dy, down, across, g, guard):
        outputs = g.shape[2]
        for n in range(dy.shape[0]):
            for r in range(dy.shape[2]):
                for q in range(dy.shape[3]):
                    for start in range(0, outputs, rows):
                        o, f = min(start, outputs - rows), 0
                        outer = load_column(dy, (n, o, r, q), 1, rows)
                        for c in range(x.shape[1]):
                            for i in range(down.kernel_size):
                                for j in range(across.kernel_size):
                                    h = r * down.stride + i * down.dilation
                                    v = q * across.stride + j * across.dilation
                                    tile = tile_fma(tile_zeros(rows), outer, load_row(x, (n, c, h, v), 1, 1))
                                    add_sums(g[r, q], (o, f), tile, rows, 1, start - o, 0, guard)
                                    f += 1

    return function


@specialized("f4:5 i8:3 i8:1")
def local_bias_gradient(columns):
    """g[r, q, o] += sum over samples of dy[o, r, q], exact sums, for `columns` outputs at a time."""

    def function(dy, g, guard):
        outputs = dy.shape[1]
        for n in range(dy.shape[0]):
            for r in range(dy.shape[2]):
                for q in range(dy.shape[3]):
                    for start in range(0, outputs, columns):
                        o = min(start, outputs - columns)
                        tile = load_column(dy, (n, o, r, q), 1, columns)
                        add_sums(g[r, q], (o,), tile, 1, columns, 0, start - o, guard)

    return function
