"""Gradient of the data for convolutions with few channels per group, such as depthwise ones, with a stride of 1.

A tile with few channels has registers for several columns. All columns of a tile must use the same taps; therefore dy
has zero columns at its sides, so that no edge cuts off a window. Shapes are as in kernels/convolution.
"""

from distcnn.kernels.jit import specialized
from distcnn.lanes import (
    broadcast_second,
    load_row,
    load_tile,
    store_tile,
    tile_fma,
    tile_where_positive,
    tile_zeros,
)


@specialized("f4:5 f4:5 axis axis i8 f4:5 f4:5")
def few_channels_backward_data(rows, columns, mask):
    """dx[c, h, v] = sum over o, i, j of w[o, c, i, j] * dy[o, r, q], the same bits as `convolution_backward_data`.

    r = h + padding - i * dilation; q likewise.

    left: the number of zero columns before the columns of dy.
    mask: as in `convolution_backward_data`.
    """
    size = rows * columns

    def function(dy, w, down, across, left, x, dx):
        oh, kernel_width = dy.shape[2], w.shape[4]
        for group in range(dx.shape[0]):
            filters = w[group]
            outputs, channels = filters.shape[:2]
            for h in range(dx.shape[2]):
                bottom = h + down.padding
                first = max(0, (bottom - oh) // down.dilation + 1)
                last = min(down.kernel_size, bottom // down.dilation + 1)
                for start in range(0, channels, rows):
                    c = min(start, channels - rows)
                    for begin in range(0, dx.shape[3], columns):
                        v = min(begin, dx.shape[3] - columns)
                        tile = tile_zeros(size)
                        for o in range(outputs):
                            for i in range(first, last):
                                for j in range(kernel_width):
                                    taps = broadcast_second(filters, (o, c, i, j), 1, rows)
                                    q = left + v + across.padding - j * across.dilation
                                    at = group, o, bottom - i * down.dilation, q
                                    tile = tile_fma(tile, taps, load_row(dy, at, 1, columns))
                        at = group, c, h, v
                        if mask:
                            tile = tile_where_positive(load_tile(x, at, 1, rows, columns), tile)
                        store_tile(dx, at, tile, 1, rows, columns)

    return function
