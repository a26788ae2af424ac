"""Convolution as a sliding dot product: forward and both gradients, for any filter, stride, padding and dilation.

Shapes, for one block: x [groups, c, h, columns, 16], w [groups, o, c, kh, kw], y and dy [groups, o, oh, ow, 16]; most
layers have one group. x includes the zero columns of the padding (column 0 is column -padding of the image) but no zero
rows, since loops skip the rows outside the image, which changes no bit. The Axes `down` and `across` describe the
windows along rows and columns. A tile holds `rows` channels by `columns` positions in registers; the last tile of a row
may overlap the previous one. The shape of a tile never changes the order of a sum, so it can depend on the machine.
"""

from distcnn.kernels.axis import steps, taps_inside, taps_over, windows_inside
from distcnn.kernels.jit import specialized
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

WINDOWS = 56  # windows of a row that `convolution_backward_weights_far` adds to its sums at a time


@specialized("f4:5 f4:5 f4:2 axis axis f4:5")
def convolution_forward(rows, columns, stride, relu):
    """y[o, r, q] = bias[o] + sum over c, i, j of w[o, c, i, j] * x[c, h, v], (h, v) the pixel of tap (i, j).

    h = r * stride - padding + i * dilation; v likewise.

    stride: the stride of columns, a compile-time constant.
    relu: whether y is the maximum of the sum and 0.
    """

    def function(x, w, bias, down, across, y):
        height = x.shape[2]
        for group in range(x.shape[0]):
            filters, offsets = w[group], bias[group]
            outputs, channels, _, kernel_width = filters.shape
            for r in range(y.shape[2]):
                top = r * down.stride - down.padding
                first, last = taps_inside(top, down, height)
                for start in range(0, outputs, rows):
                    o = min(start, outputs - rows)
                    for begin in range(0, y.shape[3], columns):
                        q = min(begin, y.shape[3] - columns)
                        tile = tile_repeat(broadcast_first(offsets, (o,), 1, rows), columns)
                        for c in range(channels):
                            for i in range(first, last):
                                for j in range(kernel_width):
                                    taps = broadcast_first(filters, (o, c, i, j), 1, rows)
                                    at = group, c, top + i * down.dilation, q * stride + j * across.dilation
                                    tile = tile_fma(tile, taps, load_row(x, at, stride, columns))
                        if relu:
                            tile = tile_relu(tile)
                        store_tile(y, (group, o, r, q), tile, 1, rows, columns)

    return function


@specialized("f4:5 f4:5 axis axis f4:5 f4:5")
def convolution_backward_data(rows, row_stride, row_dilation, stride, dilation, mask):
    """dx[c, h, v] = sum over o, i, j of w[o, c, i, j] * dy[o, r, q], (r, q) the window whose tap (i, j) is at (h, v).

    The order of the sum is o, i, j, ascending.

    row_stride, row_dilation: those of rows, compile-time constants.
    stride, dilation: those of columns, compile-time constants.
    mask: whether dx is 0 where x is not above 0, which is the derivative of the ReLU whose output is x.
    """
    i_step, r_step = i_steps = steps(row_stride, row_dilation)
    j_step, q_step = j_steps = steps(stride, dilation)

    def function(dy, w, down, across, x, dx):
        oh, ow, kernel_height, kernel_width = dy.shape[2], dy.shape[3], w.shape[3], w.shape[4]
        for group in range(dx.shape[0]):
            filters = w[group]
            outputs, channels = filters.shape[:2]
            for h in range(dx.shape[2]):
                at = h + down.padding
                i, r, first_i, last_i = taps_over(at, row_stride, row_dilation, i_steps, kernel_height, oh)
                for start in range(0, channels, rows):
                    c = min(start, channels - rows)
                    for v in range(dx.shape[3]):
                        at = v + across.padding
                        j, q, first_j, last_j = taps_over(at, stride, dilation, j_steps, kernel_width, ow)
                        tile = tile_zeros(rows)
                        for o in range(outputs):
                            for m in range(first_i, last_i):
                                for n in range(first_j, last_j):
                                    tap = o, c, i + m * i_step, j + n * j_step
                                    taps = broadcast_second(filters, tap, 1, rows)
                                    window = group, o, r - m * r_step, q - n * q_step
                                    tile = tile_fma(tile, taps, load_row(dy, window, 1, 1))
                        if mask:
                            tile = tile_where_positive(load_column(x, (group, c, h, v), 1, rows), tile)
                        store_tile(dx, (group, c, h, v), tile, 1, rows, 1)

    return function


@specialized("f4:5 f4:5 axis axis i8:5 i8:2 i8:1")
def convolution_backward_weights(rows, columns, dilation, whole):
    """g[o, c, i, j] += sum over positions and samples of dy[o, r, q] * x[c, h, v], (h, v) the pixel of tap (i, j).

    A tile is `rows` outputs by `columns` neighboring taps.

    dilation: the dilation of columns, a compile-time constant.
    whole: a row of taps that lies inside the image in every window, or the number of rows if there is none. While the
        kernel reads dy for this row, it also sums the gradient of the bias, b[o] += sum of dy[o, r, q]; if there is no
        such row, b stays unchanged.
    g, b: exact sums, b [groups, o].
    guard: as in lanes.sums.
    """
    size = rows * columns

    def function(x, dy, down, across, g, b, guard):
        height = x.shape[2]
        for group in range(x.shape[0]):
            sums = g[group]
            outputs, channels, kernel_height, kernel_width = sums.shape
            for start in range(0, outputs, rows):
                o = min(start, outputs - rows)
                for c in range(channels):
                    for i in range(kernel_height):
                        first, last = windows_inside(i, down, height, dy.shape[2])
                        for begin in range(0, kernel_width, columns):
                            j = min(begin, kernel_width - columns)
                            tile, total = tile_zeros(size), tile_zeros(rows)
                            for_bias = c + begin == 0 and i == whole
                            for r in range(first, last):
                                h = r * down.stride - down.padding + i * down.dilation
                                for q in range(dy.shape[3]):
                                    outer = load_column(dy, (group, o, r, q), 1, rows)
                                    at = group, c, h, q * across.stride + j * dilation
                                    tile = tile_fma(tile, outer, load_row(x, at, dilation, columns))
                                    if for_bias:
                                        total = tile_add(total, outer)
                            add_sums(sums, (o, c, i, j), tile, rows, columns, start - o, begin - j, guard)
                            if for_bias:
                                add_sums(b[group], (o,), total, rows, 1, start - o, 0, guard)

    return function


@specialized("f4:5 f4:5 axis axis f4:6 i8:4 i8:1 i8:1")
def convolution_backward_weights_far(rows, columns, dilation):
    """Compute the same as `convolution_backward_weights`, with the same bits, but read x and dy only once.

    This is for one group with maps that exceed the caches. For WINDOWS windows of a row at a time, the kernel adds to
    all sums.

    partial: scratch [tiles of outputs, c, kh, tiles of taps + 1, rows * columns, 16] for the sums; the last tile of
        taps is for the bias.
    """
    size = rows * columns

    def function(x, dy, down, across, partial, g, b, guard):
        outputs, channels, kernel_height, kernel_width = g.shape
        tiles, bias = partial.shape[0], partial.shape[3] - 1
        for t in range(tiles):
            for c in range(channels):
                for i in range(kernel_height):
                    for k in range(bias + 1):
                        store_tile(partial, (t, c, i, k, 0), tile_zeros(size), 1, 1, size)
        for r in range(dy.shape[2]):
            top = r * down.stride - down.padding
            first, last = taps_inside(top, down, x.shape[2])
            for begin in range(0, dy.shape[3], WINDOWS):
                end = min(begin + WINDOWS, dy.shape[3])
                for t in range(tiles):
                    o = min(t * rows, outputs - rows)
                    total = load_row(partial, (t, 0, 0, bias, 0), 1, rows)
                    for q in range(begin, end):
                        total = tile_add(total, load_column(dy, (0, o, r, q), 1, rows))
                    store_tile(partial, (t, 0, 0, bias, 0), total, 1, 1, rows)
                    for c in range(channels):
                        for i in range(first, last):
                            for k in range(bias):
                                j = min(k * columns, kernel_width - columns)
                                tile = load_row(partial, (t, c, i, k, 0), 1, size)
                                for q in range(begin, end):
                                    outer = load_column(dy, (0, o, r, q), 1, rows)
                                    at = 0, c, top + i * down.dilation, q * across.stride + j * dilation
                                    tile = tile_fma(tile, outer, load_row(x, at, dilation, columns))
                                store_tile(partial, (t, c, i, k, 0), tile, 1, 1, size)
        for t in range(tiles):
            o = min(t * rows, outputs - rows)
            add_sums(b, (o,), load_row(partial, (t, 0, 0, bias, 0), 1, rows), rows, 1, t * rows - o, 0, guard)
            for c in range(channels):
                for i in range(kernel_height):
                    for k in range(bias):
                        j = min(k * columns, kernel_width - columns)
                        tile = load_row(partial, (t, c, i, k, 0), 1, size)
                        add_sums(g, (o, c, i, j), tile, rows, columns, t * rows - o, k * columns - j, guard)

    return function


@specialized("f4:5 i8:1 i8:1")
def bias_gradient(rows):
    """g[o] += sum over positions and samples of dy[o, r, q], for `rows` channels at a time."""

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
