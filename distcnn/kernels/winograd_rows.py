"""Convolution with filters five taps wide by Winograd's algorithm along rows, F(2, 5): 6 products in place of 10.

Two neighboring outputs read six inputs of a row. Rows of inputs and of filters are transformed to the six points of
kernels/winograd. At each point, a convolution along columns remains (Winograd 1980; Lavin and Gray 2016). The gradients
are those of the same trilinear form. The transforms are plain arithmetic on Lanes.

Shapes: x [1, c, h, 2 pairs + 4, 16] includes the zero columns of the padding but no zero rows; y [1, o, oh, ow, 16],
dy [1, o, oh, 2 pairs, 16], w [o, c, kh, 5]; at the points, x is v [6, c, h, pairs, 16], dy is z [6, o, oh, pairs, 16]
and w is u [6, o, c, kh]. The Axes `down` and `across` describe the windows along rows and columns.
"""

import numpy as np
from numba import njit

from distcnn.kernels.axis import taps_inside, taps_over, windows_inside
from distcnn.kernels.jit import kernel, specialized
from distcnn.kernels.winograd import b_transposed
from distcnn.lanes import (
    add_sums,
    broadcast_first,
    broadcast_second,
    fma_scalar,
    load,
    load_column,
    load_first,
    load_row,
    row_transform,
    store,
    store_first,
    store_tile,
    tile_add,
    tile_fma,
    tile_relu,
    tile_repeat,
    tile_zeros,
    where_positive,
)
from distcnn.lanes.tiles import Symbol

POINTS = 6


# ---- the transforms: points 0, 1, -1, 2, -2 and infinity, as in Lavin and Gray 2016 ----


def a_transposed(a: Symbol, b: Symbol, c: Symbol, d: Symbol, e: Symbol, f: Symbol) -> tuple[Symbol, ...]:
    """A^T: six points -> two outputs."""
    s, t, p, q = b + c, b - c, d + e, d - e
    return a + s + p, q.fma(2, t) + f


def a_plain(a: Symbol, b: Symbol) -> tuple[Symbol, ...]:
    """A: two outputs' gradients -> six points."""
    return a, a + b, a - b, b.fma(2, a), b.fma(-2, a), b


def b_plain(
    a: Symbol, b: Symbol, c: Symbol, d: Symbol, e: Symbol, f: Symbol, *rest: Symbol
) -> tuple[Symbol, ...]:
    """B: six points -> six inputs' gradients; `rest`, from the previous pair, is added to the first four."""
    s, t, p, q = b + c, b - c, d + e, d - e
    even, odd = s.fma(-4, rest[2] - p), q.fma(2, t + rest[3])
    first, second = a.fma(4, rest[0]), (f - t).fma(4, q.fma(-2, rest[1]))
    return first, second, a.fma(-5, even), f.fma(-5, odd), a + s + p, f


def g_transposed(a: Symbol, b: Symbol, c: Symbol, d: Symbol, e: Symbol, f: Symbol) -> tuple[Symbol, ...]:
    """G^T: six points' gradients -> five taps."""
    s, t, p, q = (b + c).times(-1 / 6), (b - c).times(-1 / 6), d + e, d - e
    first, second, third = a.fma(1 / 4, p.fma(1 / 24, s)), q.fma(1 / 12, t), p.fma(1 / 6, s)
    return first, second, third, q.fma(1 / 3, t), p.fma(2 / 3, s) + f


inputs_to_points = row_transform(b_transposed, 6)
points_to_outputs = row_transform(a_transposed, 2)
gradients_to_points = row_transform(a_plain, 6)
points_to_inputs = row_transform(b_plain, 6)
points_to_taps = row_transform(g_transposed, 5)


FOUR, SIXTEEN, QUARTER, SIXTH, TWELFTH, TWENTYFOURTH = np.float32([4, 16, 1 / 4, -1 / 6, 1 / 12, 1 / 24])


@kernel("f4:4 f4:4")
def winograd_rows_filters(w, u):
    """u = G w for each row of taps."""
    for o in range(w.shape[0]):
        for k in range(w.shape[1]):
            for i in range(w.shape[2]):
                a, b, c, d, e = w[o, k, i, 0], w[o, k, i, 1], w[o, k, i, 2], w[o, k, i, 3], w[o, k, i, 4]
                s, t = (a + c + e) * SIXTH, (b + d) * SIXTH
                p = fma_scalar(e, SIXTEEN, fma_scalar(c, FOUR, a)) * TWENTYFOURTH
                q = fma_scalar(d, FOUR, b) * TWELFTH
                u[0, o, k, i], u[1, o, k, i], u[2, o, k, i] = a * QUARTER, s + t, s - t
                u[3, o, k, i], u[4, o, k, i], u[5, o, k, i] = p + q, p - q, e


# ---- forward ----


@kernel("f4:5 f4:5")
def winograd_rows_inputs(x, v):
    """v = B^T x for each six columns."""
    for c in range(v.shape[1]):
        for h in range(v.shape[2]):
            for t in range(v.shape[3]):
                points = inputs_to_points(load_row(x, (0, c, h, 2 * t), 1, 6))
                store_first(v, (0, c, h, t), points, 1, 6, 1)


@specialized("f4:5 f4:4 f4:1 axis f4:4 f4:5")
def winograd_rows_forward(rows, columns, relu):
    """y[o, r] = A^T m + bias[o]; m[o, t] = sum over c and i of u[o, c, i] * v[c, h, t] at each point.

    h is the row of the window's tap i. A tile is `rows` outputs by `columns` pairs.

    relu: as in kernels/convolution.
    m: scratch [6, o, pairs, 16].
    """
    size = rows * columns

    def function(v, u, bias, down, m, y):
        _, outputs, channels, _ = u.shape
        pairs = m.shape[2]
        for r in range(y.shape[2]):
            top = r * down.stride - down.padding
            first, last = taps_inside(top, down, v.shape[2])
            for point in range(6):
                filters = u[point]
                for start in range(0, outputs, rows):
                    o = min(start, outputs - rows)
                    for begin in range(0, pairs, columns):
                        t = min(begin, pairs - columns)
                        tile = tile_zeros(size)
                        for c in range(channels):
                            for i in range(first, last):
                                taps = broadcast_first(filters, (o, c, i), 1, rows)
                                at = point, c, top + i * down.dilation, t
                                tile = tile_fma(tile, taps, load_row(v, at, 1, columns))
                        store_tile(m, (point, o, t), tile, 1, rows, columns)
            for o in range(outputs):
                offsets = tile_repeat(broadcast_first(bias, (o,), 1, 1), 2)
                for t in range(pairs):
                    pair = tile_add(points_to_outputs(load_first(m, (0, o, t), 1, 6)), offsets)
                    if relu:
                        pair = tile_relu(pair)
                    store(y, (0, o, r, 2 * t), pair[0])
                    if 2 * t + 1 < y.shape[3]:
                        store(y, (0, o, r, 2 * t + 1), pair[1])

    return function


# ---- backward ----


@kernel("f4:5 f4:5")
def winograd_rows_gradients(dy, z):
    """z = A dy for each pair of columns."""
    for o in range(z.shape[1]):
        for r in range(z.shape[2]):
            for t in range(z.shape[3]):
                points = gradients_to_points(load_row(dy, (0, o, r, 2 * t), 1, 2))
                store_first(z, (0, o, r, t), points, 1, 6, 1)


@specialized("f4:5 f4:4 axis axis f4:4 f4:5 f4:5")
def winograd_rows_backward_data(rows, columns, mask):
    """dx[c, h] = B m; m[c, t] = sum over o and i of u[o, c, i] * z[o, r, t] at each point, for windows one row apart.

    r is the window whose tap i is in row h of the image. The six columns of B m of a pair overlap those of the two
    pairs before and after it; overlapping columns are added. A tile is `rows` channels by `columns` pairs.

    mask: as in kernels/convolution.
    m: scratch [6, c, pairs, 16].
    """
    size = rows * columns

    def function(z, u, down, across, m, x, dx):
        _, outputs, channels, kernel_height = u.shape
        pairs = m.shape[2]
        for h in range(dx.shape[2]):
            i, r, first, last = taps_over(h + down.padding, 1, 1, (1, 1), kernel_height, z.shape[2])
            for point in range(6):
                filters = u[point]
                for start in range(0, channels, rows):
                    c = min(start, channels - rows)
                    for begin in range(0, pairs, columns):
                        t = min(begin, pairs - columns)
                        tile = tile_zeros(size)
                        for o in range(outputs):
                            for k in range(first, last):
                                taps = broadcast_second(filters, (o, c, i + k), 1, rows)
                                tile = tile_fma(tile, taps, load_row(z, (point, o, r - k, t), 1, columns))
                        store_tile(m, (point, c, t), tile, 1, rows, columns)
            for c in range(channels):
                rest, v = tile_zeros(4), -across.padding
                for t in range(pairs):
                    columns_of_dx = points_to_inputs(load_first(m, (0, c, t), 1, 6) + rest)
                    _store_inside(columns_of_dx[0], x, (0, c, h, v + 2 * t), mask, dx)
                    _store_inside(columns_of_dx[1], x, (0, c, h, v + 2 * t + 1), mask, dx)
                    rest = columns_of_dx[2:]
                for k in range(4):
                    _store_inside(rest[k], x, (0, c, h, v + 2 * pairs + k), mask, dx)

    return function


@njit(inline="always")
def _store_inside(value, x, at, mask, dx):
    """Store a gradient at dx[at] if its column lies in the image."""
    if 0 <= at[3] < dx.shape[3]:
        store(dx, at, where_positive(load(x, at), value) if mask else value)


@specialized("f4:5 f4:5 axis f4:4 i8:4 i8:1")
def winograd_rows_backward_weights(rows, columns):
    """g[o, c, i] += G^T d; d[o, c] = sum over r, t and samples of z[o, r, t] * v[c, h, t] at each point, h as above.

    A tile is `rows` outputs by `columns` channels. Sums over lanes are computed for the 15 taps of three outputs at a
    time, so there must be at least 3 outputs.

    d: scratch [6, o, c, 16].
    g: exact sums.
    guard: as in lanes.sums.
    """
    size = rows * columns

    def function(v, z, down, d, g, guard):
        outputs, channels, kernel_height, _ = g.shape
        for i in range(kernel_height):
            first, last = windows_inside(i, down, v.shape[2], z.shape[2])
            for point in range(6):
                for start in range(0, outputs, rows):
                    o = min(start, outputs - rows)
                    for begin in range(0, channels, columns):
                        c = min(begin, channels - columns)
                        tile = tile_zeros(size)
                        for r in range(first, last):
                            h = r * down.stride - down.padding + i * down.dilation
                            for t in range(z.shape[3]):
                                outer = load_column(z, (point, o, r, t), 1, rows)
                                tile = tile_fma(tile, outer, load_column(v, (point, c, h, t), 1, columns))
                        store_tile(d, (point, o, c), tile, 1, rows, columns)
            for start in range(0, outputs, 3):
                o = min(start, outputs - 3)
                for c in range(channels):
                    taps = _taps(d, o, c) + _taps(d, o + 1, c) + _taps(d, o + 2, c)
                    add_sums(g, (o, c, i, 0), taps, 3, 5, start - o, 0, guard)

    return function


@njit(inline="always")
def _taps(d, o, c):
    return points_to_taps(load_first(d, (0, o, c), 1, 6))
