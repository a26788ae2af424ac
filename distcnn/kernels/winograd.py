"""3 x 3 convolution of stride 1 by Winograd's minimal filtering, F(4 x 4, 3 x 3): 36 products in place of 144.

A tile of 4 x 4 outputs reads 6 x 6 inputs. Inputs and filters are transformed to 36 points, where the convolution
is a product of matrices over the channels, one for each point (Lavin and Gray 2016; points 0, 1, -1, 2, -2 and
infinity). Transforms act on each lane alone, so they are plain arithmetic on Lanes.

Tiles are numbered row by row; a call does as many as its scratch array v or y has room for, from `first` on. Images
hold zeros around them, up to whole tiles. Shapes: x [1, c, 4 down + 2, 4 across + 2, 16] from the first tile's
corner on, v [36, c, tiles, 16], m [36, o, tiles, 16]; `patch` [6, 6, 16] is scratch.
"""

from numba import njit

from distcnn.kernels.compile import kernel, specialised
from distcnn.lanes import (
    add_features,
    broadcast_last,
    broadcast_second,
    fma,
    load,
    load_column,
    load_down,
    load_first,
    load_row,
    load_tile,
    splat,
    store,
    store_first,
    store_tile,
    tile_add,
    tile_fma,
    tile_zeros,
    transpose,
    where_positive,
)

POINTS = 36


# ---- the transforms of one row or column; A^T, B^T and G as in Lavin and Gray 2016, section 4.3 ----


@njit(inline="always")
def b_transposed(values):
    """B^T: six inputs -> six points."""
    a, b, c, d, e, f = values
    p, q = fma(splat(-4.0), c, e), fma(splat(-4.0), b, d)
    s, t = e - c, d - b
    first = fma(splat(4.0), a, fma(splat(-5.0), c, e))
    last = fma(splat(4.0), b, fma(splat(-5.0), d, f))
    return first, p + q, p - q, fma(splat(2.0), t, s), fma(splat(-2.0), t, s), last


@njit(inline="always")
def a_transposed(values):
    """A^T: six points -> four outputs."""
    a, b, c, d, e, f = values
    s, t, p, q = b + c, b - c, d + e, d - e
    return a + s + p, fma(splat(2.0), q, t), fma(splat(4.0), p, s), fma(splat(8.0), q, t) + f


@njit(inline="always")
def a_plain(values):
    """A: four outputs' gradients -> six points."""
    a, b, c, d = values
    s, t = a + c, b + d
    p, q = fma(splat(4.0), c, a), splat(2.0) * fma(splat(4.0), d, b)
    return a, s + t, s - t, p + q, p - q, d


@njit(inline="always")
def g_plain(values):
    """G: three taps -> six points."""
    p, q, r = values
    s, t = splat(-1 / 6) * (p + r), splat(-1 / 6) * q
    a, b = fma(splat(1 / 24), p, splat(1 / 6) * r), splat(1 / 12) * q
    return splat(0.25) * p, s + t, s - t, a + b, a - b, r


@njit(inline="always")
def g_transposed(values):
    """G^T: six points' gradients -> three taps."""
    a, b, c, d, e, f = values
    s, t, p, q = b + c, b - c, d + e, d - e
    first = fma(splat(0.25), a, fma(splat(-1 / 6), s, splat(1 / 24) * p))
    second = fma(splat(-1 / 6), t, splat(1 / 12) * q)
    return first, second, fma(splat(-1 / 6), s, fma(splat(1 / 6), p, f))


# ---- filters ----


@kernel("f4:3C i8 f4:2 f4:3 f4:4")
def winograd_filters(w, rotated, taps, patch, u):
    """u = G w G^T for filters w [o, c, 9]; with `rotated` those that take dy to dx, [c, o, 9] turned by 180 degrees.

    Four outputs' filters are neighbours in u, [36, groups of 4 outputs, groups of 4 channels, 4 channels x 4 outputs],
    so that they are read in order; lanes are these sixteen. taps: scratch [16, 16].
    """
    for group in range(u.shape[1]):
        for k in range(u.shape[2]):
            for lane in range(16):
                o, c = 4 * group + lane % 4, 4 * k + lane // 4
                if rotated:
                    if o < w.shape[1] and c < w.shape[0]:
                        for t in range(9):
                            taps[lane, t] = w[c, o, 8 - t]
                elif o < w.shape[0] and c < w.shape[1]:
                    for t in range(9):
                        taps[lane, t] = w[o, c, t]
            store_first(taps, (0,), transpose(load_first(taps, (0,), 1, 16)), 1, 16, 1)
            for j in range(3):
                column = load(taps, (j,)), load(taps, (3 + j,)), load(taps, (6 + j,))
                store_first(patch, (0, j), g_plain(column), 1, 6, 1)
            for i in range(6):
                store_first(u, (6 * i, group, k), g_plain(load_row(patch, (i, 0), 1, 3)), 1, 6, 1)


# ---- forward, and the gradient of the data: the same with rotated filters ----


@kernel("f4:5 i8 i8 f4:3 f4:4")
def winograd_inputs(x, first, across, patch, v):
    """v = B^T x B for each tile and channel."""
    for c in range(x.shape[1]):
        for t in range(v.shape[2]):
            row, column = 4 * ((first + t) // across), 4 * ((first + t) % across)
            for q in range(6):
                values = load_down(x, (0, c, row, column + q), 1, 6)
                store_first(patch, (0, q), b_transposed(values), 1, 6, 1)
            for i in range(6):
                values = load_row(patch, (i, 0), 1, 6)
                store_first(v, (6 * i, c, t), b_transposed(values), 1, 6, 1)


@specialised("f4:4 f4:4 f4:4")
def winograd_products(columns):
    """m[o, t] = sum over c of u[o, c] * v[c, t] at each point, for 4 outputs by `columns` tiles.

    u [36, groups of 4 outputs, c, 4]; m has room for whole groups.
    """
    size = 4 * columns

    def function(u, v, m):
        channels, tiles = v.shape[1], v.shape[2]
        for point in range(36):
            for begin in range(0, tiles, columns):
                t = min(begin, tiles - columns)
                for group in range(u.shape[1]):
                    tile = tile_zeros(size)
                    for c in range(channels):
                        filters = broadcast_last(u, (point, group, c, 0), 1, 4)
                        tile = tile_fma(tile, filters, load_row(v, (point, c, t), 1, columns))
                    store_tile(m, (point, 4 * group, t), tile, 1, 4, columns)

    return function


@specialised("f4:4 f4:1 f4:5 f4:5 i8 i8 f4:3")
def winograd_outputs(relu, mask):
    """y = A^T m A + bias for each tile and output; `relu` and `mask` as in direct convolution."""

    def function(m, bias, x, y, first, across, patch):
        for o in range(y.shape[1]):
            offset = splat(bias[o])
            for t in range(m.shape[2]):
                row, column = 4 * ((first + t) // across), 4 * ((first + t) % across)
                for i in range(6):
                    values = load_first(m, (6 * i, o, t), 1, 6)
                    store_tile(patch, (i, 0), a_transposed(values), 1, 1, 4)
                height = y.shape[2] - row
                for j in range(min(4, y.shape[3] - column)):
                    p, q, r, s = a_transposed(load_first(patch, (0, j), 1, 6))
                    at = (0, o, row, column + j)
                    _emit(p + offset, x, y, at, relu, mask)
                    if height > 1:
                        _emit(q + offset, x, y, (0, o, row + 1, column + j), relu, mask)
                    if height > 2:
                        _emit(r + offset, x, y, (0, o, row + 2, column + j), relu, mask)
                    if height > 3:
                        _emit(s + offset, x, y, (0, o, row + 3, column + j), relu, mask)

    return function


@njit(inline="always")
def _emit(value, x, y, at, relu, mask):
    """Store one output; at: its index."""
    if relu:
        value = where_positive(value, value)
    if mask:
        value = where_positive(load(x, at), value)
    store(y, at, value)


# ---- the gradient of the weights ----


@kernel("f4:5 i8 i8 f4:3 f4:4")
def winograd_gradients(dy, first, across, patch, y):
    """y = A dy A^T for each tile and output; dy [1, o, 4 down, 4 across, 16]."""
    for o in range(dy.shape[1]):
        for t in range(y.shape[2]):
            row, column = 4 * ((first + t) // across), 4 * ((first + t) % across)
            for q in range(4):
                values = load_down(dy, (0, o, row, column + q), 1, 4)
                store_first(patch, (0, q), a_plain(values), 1, 6, 1)
            for i in range(6):
                store_first(y, (6 * i, o, t), a_plain(load_row(patch, (i, 0), 1, 4)), 1, 6, 1)


@specialised("f4:4 f4:4 i8 f4:4 f4:4")
def winograd_weight_products(rows, columns):
    """d[o, c] (+)= sum over tiles and samples of y[o, t, s] * v[c, t, s] at each point; at least 16 channels.

    v is transposed first, so that channels lie in lanes and no sum across lanes is needed (scratch: vt [tiles, 16
    samples, groups of 16 channels, 16]); the last group may overlap the one before it: what it repeats is 0. A
    tile is `rows` outputs by `columns` groups; y, vt and d [36, o, groups, 16] have room for whole tiles.
    """
    size = rows * columns

    def function(v, y, fresh, vt, d):
        channels, tiles = v.shape[1], v.shape[2]
        for point in range(36):
            for k in range((channels + 15) // 16):
                c = min(16 * k, channels - 16)
                for t in range(tiles):
                    store_tile(
                        vt,
                        (t, 0, k),
                        transpose(load_column(v[point : point + 1], (0, c, t), 1, 16)),
                        1,
                        16,
                        1,
                    )
                    for s in range(16):
                        for repeated in range(16 * k - c):
                            vt[t, s, k, repeated] = 0.0
            for o in range(0, d.shape[1], rows):
                for k in range(0, d.shape[2], columns):
                    tile = tile_zeros(size)
                    for t in range(tiles):
                        for s in range(16):
                            outer = broadcast_second(y, (point, o, t, s), 1, rows)
                            tile = tile_fma(tile, outer, load_row(vt, (t, s, k), 1, columns))
                    if not fresh:
                        tile = tile_add(load_tile(d, (point, o, k), 1, rows, columns), tile)
                    store_tile(d, (point, o, k), tile, 1, rows, columns)

    return function


@kernel("f4:4 f4:3 f4:2 f4:3 i8:2 i8:1")
def winograd_weight_sums(d, patch, taps, side_by_side, g, guard):
    """g[o, (c, i, j)] += G^T d G, exactly. Sixteen channels' nine taps are neighbours in g: they are sorted first.

    Scratch: taps [16, 16], whose last seven rows are not read; side_by_side [16, 1, 16], rows 9 numbers apart.
    """
    channels = g.shape[1] // 9
    for o in range(g.shape[0]):
        for k in range((channels + 15) // 16):
            for i in range(6):
                store_tile(patch, (i, 0), g_transposed(load_first(d, (6 * i, o, k), 1, 6)), 1, 1, 3)
            for j in range(3):
                p, q, r = g_transposed(load_first(patch, (0, j), 1, 6))
                store(taps, (j,), p)
                store(taps, (3 + j,), q)
                store(taps, (6 + j,), r)
            store_first(side_by_side, (0, 0), transpose(load_row(taps, (0,), 1, 16)), 1, 16, 1)
            c = min(16 * k, channels - 16)
            add_features(g, (o, 9 * c), load_row(side_by_side[0], (0,), 1, 9), 1, 9, 0, guard)
