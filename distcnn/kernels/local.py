"""Local connections without weight sharing: a fully connected layer of its own at each place of the output.

Shapes: x and dx [blocks, c, h, w, 16], y and dy [blocks, o, oh, ow, 16], weights and their exact sums
[oh, ow, o, features], features = c * kh * kw; bias [oh, ow, o]. A window is first copied into a patch [1, features,
16].
"""

from numba import njit

from distcnn.kernels.compile import specialised
from distcnn.lanes import (
    add_features,
    add_sums,
    broadcast_first,
    broadcast_last,
    load,
    load_column,
    load_row,
    splat,
    store,
    store_first,
    store_tile,
    tile_fma,
    tile_zeros,
    transpose,
)


@njit(inline="always")
def _gather(x, n, r, q, down, across, patch):
    """patch[(c, i, j)] = x at tap (i, j) of window (r, q), 0 outside the image."""
    f = 0
    for c in range(x.shape[1]):
        for i in range(down.kernel_size):
            h = r * down.stride - down.padding + i * down.dilation
            for j in range(across.kernel_size):
                v = q * across.stride - across.padding + j * across.dilation
                inside = 0 <= h < x.shape[2] and 0 <= v < x.shape[3]
                store(patch, (0, f), load(x, (n, c, h, v)) if inside else splat(0.0))
                f += 1


@njit(inline="always")
def _scatter(patch, n, r, q, down, across, dx):
    """dx at tap (i, j) of window (r, q) += patch[(c, i, j)], inside the image."""
    f = 0
    for c in range(dx.shape[1]):
        for i in range(down.kernel_size):
            h = r * down.stride - down.padding + i * down.dilation
            for j in range(across.kernel_size):
                v = q * across.stride - across.padding + j * across.dilation
                if 0 <= h < dx.shape[2] and 0 <= v < dx.shape[3]:
                    store(dx, (n, c, h, v), load(dx, (n, c, h, v)) + load(patch, (0, f)))
                f += 1


@specialised("f4:5 f4:4 f4:3 axis axis f4:3 f4:5")
def local_forward(rows):
    """y[o, r, q] = bias[r, q, o] + sum over c, i, j of w[r, q, o, (c, i, j)] * x[c, i, j of the window]."""

    def function(x, w, bias, down, across, patch, y):
        outputs, features = w.shape[2], w.shape[3]
        for n in range(y.shape[0]):
            for r in range(y.shape[2]):
                for q in range(y.shape[3]):
                    _gather(x, n, r, q, down, across, patch)
                    for start in range(0, outputs, rows):
                        o = min(start, outputs - rows)
                        tile = broadcast_first(bias[r, q], (o,), 1, rows)
                        for f in range(features):
                            taps = broadcast_first(w[r, q], (o, f), 1, rows)
                            tile = tile_fma(tile, taps, load_row(patch, (0, f), 1, 1))
                        store_tile(y, (n, o, r, q), tile, 1, rows, 1)

    return function


@specialised("f4:5 f4:4 axis axis f4:3 f4:5")
def local_backward_data(rows):
    """dx[c, h, w] = sum over its windows (r, q) of the sum over o of w[r, q, o, (c, i, j)] * dy[o, r, q]."""

    def function(dy, w, down, across, patch, dx):
        outputs, features = w.shape[2], w.shape[3]
        for n in range(dy.shape[0]):
            for c in range(dx.shape[1]):
                for h in range(dx.shape[2]):
                    for column in range(dx.shape[3]):
                        store(dx, (n, c, h, column), splat(0.0))
            for r in range(dy.shape[2]):
                for q in range(dy.shape[3]):
                    for start in range(0, features, rows):
                        f = min(start, features - rows)
                        tile = tile_zeros(rows)
                        for o in range(outputs):
                            taps = broadcast_last(w[r, q], (o, f), 1, rows)
                            tile = tile_fma(tile, taps, load_column(dy, (n, o, r, q), 1, 1))
                        store_tile(patch, (0, f), tile, 1, rows, 1)
                    _scatter(patch, n, r, q, down, across, dx)

    return function


@specialised("f4:5 f4:5 axis axis f4:3 f4:3 i8:4 i8:1")
def local_backward_weights(rows):
    """g[r, q, o, (c, i, j)] += sum over samples s of dy[o, r, q, s] * x[c, i, j of the window, s].

    As in a fully connected layer, the patch is transposed so that features lie in lanes: `turned` [groups of 16
    features, 16 samples, 16]. It wants 16 features at least; the last group overlaps the one before: there it is 0.
    """

    def function(x, dy, down, across, patch, turned, g, guard):
        outputs, features = g.shape[2], g.shape[3]
        for n in range(dy.shape[0]):
            for r in range(dy.shape[2]):
                for q in range(dy.shape[3]):
                    _gather(x, n, r, q, down, across, patch)
                    for k in range(turned.shape[0]):
                        f = min(16 * k, features - 16)
                        store_first(turned[k], (0,), transpose(load_column(patch, (0, f), 1, 16)), 1, 16, 1)
                        for s in range(16):
                            for repeated in range(16 * k - f):
                                turned[k, s, repeated] = 0.0
                    for start in range(0, outputs, rows):
                        o = min(start, outputs - rows)
                        for k in range(turned.shape[0]):
                            tile = tile_zeros(rows)
                            for s in range(16):
                                outer = broadcast_first(dy[n, :, r, q], (o, s), 1, rows)
                                tile = tile_fma(tile, outer, load_row(turned, (k, s), 1, 1))
                            at = o, min(16 * k, features - 16)
                            add_features(g[r, q], at, tile, rows, 1, start - o, guard)

    return function


@specialised("f4:5 f4:5 axis axis f4:3 i8:4 i8:1")
def local_backward_few_weights(rows):
    """Do the same for fewer than 16 features: sums over lanes."""

    def function(x, dy, down, across, patch, g, guard):
        outputs, features = g.shape[2], g.shape[3]
        for n in range(dy.shape[0]):
            for r in range(dy.shape[2]):
                for q in range(dy.shape[3]):
                    _gather(x, n, r, q, down, across, patch)
                    for start in range(0, outputs, rows):
                        o = min(start, outputs - rows)
                        outer = load_column(dy, (n, o, r, q), 1, rows)
                        for f in range(features):
                            tile = tile_fma(tile_zeros(rows), outer, load_row(patch, (0, f), 1, 1))
                            add_sums(g[r, q], (o, f), tile, rows, 1, start - o, 0, guard)

    return function


@specialised("f4:5 i8:3 i8:1")
def local_bias_gradient(columns):
    """g[r, q, o] += sum over samples of dy[o, r, q], for `columns` outputs side by side."""

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
