"""3 x 3 convolution of stride 1 by Winograd's minimal filtering, F(4 x 4, 3 x 3): 36 products in place of 144.

A tile of 4 x 4 outputs reads 6 x 6 inputs. Inputs and filters are transformed to 36 points. At each point, the
convolution is a product of matrices over the channels (Lavin and Gray 2016; points 0, 1, -1, 2, -2 and infinity). The
transforms are plain arithmetic on Lanes.

Tiles are numbered row by row. A call computes as many tiles as its scratch array v or y has room for, beginning with
tile `first`; `across` is the number of tiles in a row. Images have zeros around them, up to whole tiles. Shapes: x [1,
c, 4 down + 2, 4 across + 2, 16] from the corner of the first tile on, v [36, c, tiles, 16], m [36, o, tiles, 16].

While the pixels of a channel are transformed, those of the next channel are prefetched. In a step of vgg-small, whose
images exceed the nearest caches, transforms of inputs take 1.4 times as long without prefetching; for transforms of
outputs, it makes no difference.
"""

from distcnn.kernels.jit import kernel, specialized
from distcnn.lanes import (
    add_features,
    broadcast_first,
    broadcast_last,
    broadcast_second,
    load,
    load_column,
    load_first,
    load_row,
    load_tile,
    load_window,
    prefetch_window,
    store,
    store_first,
    store_tile,
    store_window,
    tile_add,
    tile_fma,
    tile_relu,
    tile_repeat,
    tile_transform,
    tile_where_positive,
    tile_zeros,
    transpose,
    where_positive,
)
from distcnn.lanes.tiles import Symbol

POINTS = 36


# ---- the transforms of one row or column; A^T, B^T and G as in Lavin and Gray 2016, section 4.3 ----


def b_transposed(a: Symbol, b: Symbol, c: Symbol, d: Symbol, e: Symbol, f: Symbol) -> tuple[Symbol, ...]:
    """B^T: six inputs -> six points."""
    p, q = c.fma(-4, e), b.fma(-4, d)
    s, t = e - c, d - b
    return a.fma(4, c.fma(-5, e)), p + q, p - q, t.fma(2, s), t.fma(-2, s), b.fma(4, d.fma(-5, f))


def a_transposed(a: Symbol, b: Symbol, c: Symbol, d: Symbol, e: Symbol, f: Symbol) -> tuple[Symbol, ...]:
    """A^T: six points -> four outputs."""
    s, t, p, q = b + c, b - c, d + e, d - e
    return a + s + p, q.fma(2, t), p.fma(4, s), q.fma(8, t) + f


def a_plain(a: Symbol, b: Symbol, c: Symbol, d: Symbol) -> tuple[Symbol, ...]:
    """A: four outputs' gradients -> six points."""
    s, t, p, q = a + c, b + d, c.fma(4, a), d.fma(4, b).times(2)
    return a, s + t, s - t, p + q, p - q, d


def g_plain(a: Symbol, b: Symbol, c: Symbol) -> tuple[Symbol, ...]:
    """G: three taps -> six points."""
    s, t, p, q = (a + c).times(-1 / 6), b.times(-1 / 6), a.fma(1 / 24, c.times(1 / 6)), b.times(1 / 12)
    return a.times(1 / 4), s + t, s - t, p + q, p - q, c


def g_transposed(a: Symbol, b: Symbol, c: Symbol, d: Symbol, e: Symbol, f: Symbol) -> tuple[Symbol, ...]:
    """G^T: six points' gradients -> three taps."""
    s, t, p, q = b + c, b - c, d + e, d - e
    first = a.fma(1 / 4, s.fma(-1 / 6, p.times(1 / 24)))
    return first, t.fma(-1 / 6, q.times(1 / 12)), s.fma(-1 / 6, p.fma(1 / 6, f))


inputs_to_points = tile_transform(b_transposed, 6, 6)
points_to_outputs = tile_transform(a_transposed, 6, 4)
gradients_to_points = tile_transform(a_plain, 4, 6)
filter_to_points = tile_transform(g_plain, 3, 6)
points_to_filter = tile_transform(g_transposed, 6, 3)


# ---- filters ----


@kernel("f4:3C i8 f4:2 f4:4")
def winograd_filters(w, rotated, taps, u):
    """u = G w G^T for filters w [o, c, 9].

    Lanes of u are 4 channels x 4 outputs, so that products read u in order: [36, groups of 4 outputs, groups of 4
    channels, 16].

    rotated: whether to compute the filters of dx, that is, w as [c, o, 9] rotated by 180 degrees.
    taps: scratch [16, 16].
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
            points = filter_to_points(load_first(taps, (0,), 1, 9))
            store_first(u, (0, group, k), points, 1, 36, 1)


# ---- forward, and the gradient of the data: the same with rotated filters ----


@kernel("f4:5 i8 i8 f4:4")
def winograd_inputs(x, first, across, v):
    """v = B^T x B for each tile and channel."""
    for c in range(x.shape[1]):
        for t in range(v.shape[2]):
            row, column = 4 * ((first + t) // across), 4 * ((first + t) % across)
            prefetch_window(x, (0, c + 1, row, column), 6, 6)
            points = inputs_to_points(load_window(x, (0, c, row, column), 1, 6, 6))
            store_first(v, (0, c, t), points, 1, 36, 1)


@specialized("f4:4 f4:4 f4:4")
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


@specialized("f4:4 f4:1 f4:5 f4:5 i8 i8 f4:3")
def winograd_outputs(relu, mask):
    """y = A^T m A + bias for each tile and output; relu and mask as in kernels/convolution.

    patch: scratch [4, 4, 16].
    """

    def function(m, bias, x, y, first, across, patch):
        for o in range(y.shape[1]):
            offset = broadcast_first(bias, (o,), 1, 1)
            for t in range(m.shape[2]):
                row, column = 4 * ((first + t) // across), 4 * ((first + t) % across)
                tile = points_to_outputs(load_first(m, (0, o, t), 1, 36))
                tile = tile_add(tile, tile_repeat(offset, 16))
                if relu:
                    tile = tile_relu(tile)
                height, width = y.shape[2] - row, y.shape[3] - column
                if height >= 4 and width >= 4:
                    if mask:
                        tile = tile_where_positive(load_window(x, (0, o, row, column), 1, 4, 4), tile)
                    store_window(y, (0, o, row, column), tile, 1, 4, 4)
                else:
                    store_window(patch, (0, 0), tile, 1, 4, 4)
                    for i in range(min(4, height)):
                        for j in range(min(4, width)):
                            value, at = load(patch, (i, j)), (0, o, row + i, column + j)
                            store(y, at, where_positive(load(x, at), value) if mask else value)

    return function


# ---- the gradient of the weights ----


@kernel("f4:5 i8 i8 f4:4")
def winograd_gradients(dy, first, across, y):
    """y = A dy A^T for each tile and output; dy [1, o, 4 down, 4 across, 16]."""
    for o in range(dy.shape[1]):
        for t in range(y.shape[2]):
            row, column = 4 * ((first + t) // across), 4 * ((first + t) % across)
            prefetch_window(dy, (0, o + 1, row, column), 4, 4)
            points = gradients_to_points(load_window(dy, (0, o, row, column), 1, 4, 4))
            store_first(y, (0, o, t), points, 1, 36, 1)


@specialized("f4:4 f4:4 i8 f4:4 f4:4")
def winograd_weight_products(rows, columns):
    """d[o, c] += sum over tiles and samples of y[o, t, s] * v[c, t, s] at each point; at least 16 channels.

    v is transposed first, so that channels lie in lanes and no sum over lanes is needed. The last group of 16 channels
    may overlap the previous one; the channels that it repeats are set to 0 in it. A register tile is `rows` outputs by
    `columns` groups; y, vt and d have room for whole tiles.

    fresh: whether to overwrite d instead of adding to it.
    vt: scratch [groups of 16 channels, tiles, 16 samples, 16].
    d: [36, o, groups, 16].
    """
    size = rows * columns

    def function(v, y, fresh, vt, d):
        channels, tiles = v.shape[1], v.shape[2]
        for point in range(36):
            for k in range((channels + 15) // 16):
                c = min(16 * k, channels - 16)
                for t in range(tiles):
                    values = load_column(v[point : point + 1], (0, c, t), 1, 16)
                    store_tile(vt, (k, t, 0), transpose(values), 1, 1, 16)
                    for s in range(16):
                        for repeated in range(16 * k - c):
                            vt[k, t, s, repeated] = 0.0
            for o in range(0, d.shape[1], rows):
                for k in range(0, d.shape[2], columns):
                    tile = tile_zeros(size)
                    for t in range(tiles):
                        for s in range(16):
                            outer = broadcast_second(y, (point, o, t, s), 1, rows)
                            tile = tile_fma(tile, outer, load_first(vt, (k, t, s), 1, columns))
                    if not fresh:
                        tile = tile_add(load_tile(d, (point, o, k), 1, rows, columns), tile)
                    store_tile(d, (point, o, k), tile, 1, rows, columns)

    return function


@kernel("f4:4 f4:2 f4:3 i8:2 i8:1")
def winograd_weight_sums(d, taps, side_by_side, g, guard):
    """g[o, (c, i, j)] += G^T d G, exact sums. The nine taps of sixteen channels are first put into the order of g.

    taps: scratch [16, 16], whose last seven rows are not used.
    side_by_side: scratch [16, 1, 16], rows 9 numbers apart.
    """
    channels = g.shape[1] // 9
    for o in range(g.shape[0]):
        for k in range((channels + 15) // 16):
            store_first(taps, (0,), points_to_filter(load_first(d, (0, o, k), 1, 36)), 1, 9, 1)
            store_first(side_by_side, (0, 0), transpose(load_row(taps, (0,), 1, 16)), 1, 16, 1)
            c = min(16 * k, channels - 16)
            add_features(g, (o, 9 * c), load_row(side_by_side[0], (0,), 1, 9), 1, 9, 0, guard)
