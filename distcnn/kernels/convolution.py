"""Convolution as a sliding dot product: forward and both gradients, for any filter, stride and padding.

Shapes: x [blocks, c, h, columns, 16], with the zero columns of the padding in it (column 0 is column -padding of
the image); no zero rows: rows outside are skipped by the loops' bounds, which changes no bit. w [o, c, kh, kw],
y and dy [blocks, o, oh, ow, 16]. A tile keeps `rows` channels by `columns` positions in registers; the last tile of
a row may overlap the one before. A tile's shape never changes a sum's order, so it may follow the machine.
"""

from distcnn.kernels.compile import specialised
from distcnn.lanes import (
    add_sums,
    broadcast_first,
    broadcast_second,
    load_column,
    load_row,
    store_tile,
    tile_add,
    tile_fma,
    tile_relu,
    tile_repeat,
    tile_where_positive,
    tile_zeros,
)


@specialised("f4:5 f4:4 f4:1 i8 f4:5")
def convolution_forward(rows, columns, stride, relu):
    """y[o, r, q] = bias[o] + sum over c, i, j of w[o, c, i, j] * x[c, stride*r + i - padding, stride*q + j].

    With `relu`, y is what the ReLU behind it gives.
    """

    def function(x, w, bias, padding, y):
        blocks, channels, height = x.shape[0], x.shape[1], x.shape[2]
        outputs, kernel_height, kernel_width = w.shape[0], w.shape[2], w.shape[3]
        for n in range(blocks):
            for r in range(y.shape[2]):
                top = r * stride - padding
                first, last = max(0, -top), min(kernel_height, height - top)
                for start in range(0, outputs, rows):
                    o = min(start, outputs - rows)
                    for begin in range(0, y.shape[3], columns):
                        q = min(begin, y.shape[3] - columns)
                        tile = tile_repeat(broadcast_first(bias, (o,), 1, rows), columns)
                        for c in range(channels):
                            for i in range(first, last):
                                for j in range(kernel_width):
                                    taps = broadcast_first(w, (o, c, i, j), 1, rows)
                                    values = load_row(x, (n, c, top + i, q * stride + j), stride, columns)
                                    tile = tile_fma(tile, taps, values)
                        if relu:
                            tile = tile_relu(tile)
                        store_tile(y, (n, o, r, q), tile, 1, rows, columns)

    return function


@specialised("f4:5 f4:4 i8 i8 f4:5 f4:5")
def convolution_backward_data(rows, stride, mask):
    """dx[c, h, w] = sum over o, i, j of w[o, c, i, j] * dy[o, (h + padding - i) / stride, (w + padding - j) / stride].

    Only whole quotients inside dy count. dy has `border` zero columns on its left (and enough on its right); with
    `mask`, dx is 0 where x is not above 0: the derivative of the ReLU that made x. The order of the sum is o, i, j,
    ascending.
    """

    def function(dy, w, padding, border, x, dx):
        blocks, outputs, dy_height, channels = dy.shape[0], w.shape[0], dy.shape[2], w.shape[1]
        kernel_height, kernel_width = w.shape[2], w.shape[3]
        height, width = dx.shape[2], dx.shape[3]
        dy_width = (width + 2 * padding - kernel_width) // stride + 1
        for n in range(blocks):
            for h in range(height):
                row, i0 = (h + padding) // stride, (h + padding) % stride
                first_i = max(0, row - dy_height + 1)
                last_i = min((kernel_height - 1 - i0) // stride, row) + 1
                for start in range(0, channels, rows):
                    c = min(start, channels - rows)
                    for q in range(width):
                        column, j0 = (q + padding) // stride, (q + padding) % stride
                        first_j = max(0, column - dy_width + 1)
                        last_j = min((kernel_width - 1 - j0) // stride, column) + 1
                        tile = tile_zeros(rows)
                        for o in range(outputs):
                            for i in range(first_i, last_i):
                                for j in range(first_j, last_j):
                                    tap = (o, c, i0 + stride * i, j0 + stride * j)
                                    taps = broadcast_second(w, tap, 1, rows)
                                    values = load_row(dy, (n, o, row - i, border + column - j), 1, 1)
                                    tile = tile_fma(tile, taps, values)
                        if mask:
                            tile = tile_where_positive(load_column(x, (n, c, h, q), 1, rows), tile)
                        store_tile(dx, (n, c, h, q), tile, 1, rows, 1)

    return function


@specialised("f4:5 f4:5 i8 i8:4 i8:1")
def convolution_backward_weights(rows, columns, stride):
    """g[o, c, i, j] += sum over positions and samples of dy[o, r, q] * x[c, stride*r + i - padding, stride*q + j].

    A tile is `rows` outputs by `columns` neighbouring taps; g holds exact sums, `guard` as in lanes.sums.
    """
    size = rows * columns

    def function(x, dy, padding, g, guard):
        blocks, height = x.shape[0], x.shape[2]
        outputs, channels, kernel_height, kernel_width = g.shape
        for n in range(blocks):
            for start in range(0, outputs, rows):
                o = min(start, outputs - rows)
                for c in range(channels):
                    for i in range(kernel_height):
                        first = max(0, (padding - i + stride - 1) // stride)
                        last = min(dy.shape[2], (height - 1 + padding - i) // stride + 1)
                        for begin in range(0, kernel_width, columns):
                            j = min(begin, kernel_width - columns)
                            tile = tile_zeros(size)
                            for r in range(first, last):
                                for q in range(dy.shape[3]):
                                    outer = load_column(dy, (n, o, r, q), 1, rows)
                                    at = (n, c, r * stride + i - padding, q * stride + j)
                                    tile = tile_fma(tile, outer, load_row(x, at, 1, columns))
                            add_sums(g, (o, c, i, j), tile, rows, columns, start - o, begin - j, guard)

    return function


@specialised("f4:5 i8:1 i8:1")
def bias_gradient(rows):
    """g[o] += sum over positions and samples of dy[o, r, q], for `rows` channels side by side."""

    def function(dy, g, guard):
        for n in range(dy.shape[0]):
            for start in range(0, dy.shape[1], rows):
                o = min(start, dy.shape[1] - rows)
                tile = tile_zeros(rows)
                for r in range(dy.shape[2]):
                    for q in range(dy.shape[3]):
                        tile = tile_add(tile, load_column(dy, (n, o, r, q), 1, rows))
                add_sums(g, (o,), tile, rows, 1, start - o, 0, guard)

    return function
