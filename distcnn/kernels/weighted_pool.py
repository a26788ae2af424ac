"""Weighted sums over windows: mean, Gaussian and trainable pooling, forward and both gradients.

Shapes: x and dx [blocks, c, h, w, 16], y and dy [blocks, c, oh, ow, 16]. Padding is not stored; only pixels of a window
inside the image count. The weight of a pixel in a window is the product of the weight of its row and the weight of its
column. These are in `row_weights` [oh, kh] and `column_weights` [ow, kw], and are the same for all windows that no edge
cuts off. Each channel has a factor and a bias.
"""

from numba import njit

from distcnn.kernels.axis import span, whole_windows, windows_over
from distcnn.kernels.jit import kernel, specialized
from distcnn.lanes import (
    add_sums,
    broadcast_last,
    fma,
    load,
    load_row,
    load_window,
    splat,
    store,
    store_first,
    store_tile,
    store_window,
    tile_dot,
    tile_fma,
    tile_scale,
    tile_slide,
    tile_weighted_sum,
    tile_zeros,
)

UNROLLED = 64  # pixels of a window that is handled as a tile


@njit(inline="always")
def _sum_of_rows(x, at, row_weights, weights, kernel_width, down):
    """Return the weighted sum over the window that begins at x[at]; only rows of it may lie outside the image."""
    n, c, top, left = at
    total = splat(0.0)
    for i in range(max(0, -top), min(down.kernel_size, x.shape[2] - top)):
        (of_row,) = tile_dot(load_row(x, (n, c, top + i, left), 1, kernel_width), weights)
        total = fma(splat(row_weights[i]), of_row, total)
    return total


@njit(inline="always")
def _sum_inside(x, n, c, r, q, row_weights, column_weights, down, across):
    """Return the weighted sum over the pixels of window (r, q) inside the image."""
    top, first_i, last_i = span(r, down, x.shape[2])
    left, first_j, last_j = span(q, across, x.shape[3])
    total = splat(0.0)
    for i in range(first_i, last_i):
        of_row = splat(0.0)
        for j in range(first_j, last_j):
            of_row = fma(splat(column_weights[q, j]), load(x, (n, c, top + i, left + j)), of_row)
        total = fma(splat(row_weights[r, i]), of_row, total)
    return total


@njit(inline="always")
def _unrolled_windows(given, at, begin, end, height, width):
    """Compute y of windows begin ... end of row r, of which height x width pixels lie inside the image."""
    (x, row_weights, column_weights, _, across, scale, offset, y), (n, c, r, top) = given, at
    heights = broadcast_last(row_weights, (r, 0), 1, height)
    weights = broadcast_last(column_weights, (min(begin, y.shape[3] - 1), 0), 1, width)
    for q in range(begin, end):
        window = load_window(x, (n, c, top, q * across.stride - across.padding), 1, height, width)
        store(y, (n, c, r, q), fma(scale, tile_weighted_sum(window, heights, weights), offset))


@njit(inline="always")
def _windows_by_pixel(given, at, begin, end):
    """Compute y of windows begin ... end of row r, which the image's edge may cut off."""
    (x, row_weights, column_weights, down, across, scale, offset, y), (n, c, r, _) = given, at
    for q in range(begin, end):
        total = _sum_inside(x, n, c, r, q, row_weights, column_weights, down, across)
        store(y, (n, c, r, q), fma(scale, total, offset))


@specialized("f4:5 f4:2 f4:2 f4:1 f4:1 axis axis f4:5")
def window_forward(kernel_height, kernel_width, last_height, last_width):
    """y[c, r, q] = bias[c] + factor[c] * sum in window (r, q) of row_weights[r, i] * column_weights[q, j] * x[c, i, j].

    kernel_height, kernel_width: taps of a window.
    last_height, last_width: taps of the last window inside the image, if no edge cuts off the windows before it. The
        last window is then unrolled, too: 1.3 times as fast for 3 x 3 pixels of 6 x 28 x 28, 1.1 times of 16 x 10 x 10.

    Other windows at edges are computed pixel by pixel.
    """
    unrolled = kernel_height * kernel_width <= UNROLLED
    short, narrow = last_height < kernel_height, last_width < kernel_width

    def function(x, row_weights, column_weights, factor, bias, down, across, y):
        oh, ow = y.shape[2], y.shape[3]
        first, last = whole_windows(across, x.shape[3], ow)
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                scale, offset = splat(factor[c]), splat(bias[c])
                given = x, row_weights, column_weights, down, across, scale, offset, y
                for r in range(oh):
                    top, first_i, last_i = span(r, down, x.shape[2])
                    at, begin, end = (n, c, r, top), first, first
                    if unrolled and last_i - first_i == kernel_height:
                        end = ow if narrow else last
                        _unrolled_windows(given, at, first, last, kernel_height, kernel_width)
                        _unrolled_windows(given, at, last, end, kernel_height, last_width)
                    elif unrolled and short and r == oh - 1:
                        end = ow if narrow else last
                        _unrolled_windows(given, at, first, last, last_height, kernel_width)
                        _unrolled_windows(given, at, last, end, last_height, last_width)
                    _windows_by_pixel(given, at, 0, begin)
                    _windows_by_pixel(given, at, end, ow)

    return function


@specialized("f4:5 f4:2 f4:2 f4:1 axis axis f4:3 f4:5")
def window_backward_data(kernel_width, stride, columns):
    """dx[c, h, w] = factor[c] * sum over windows of (h, w) of row_weights[r, i] * column_weights[q, j] * dy[c, r, q].

    Each row of windows is first summed over j to a line, when the first row of dx needs it; then each row of dx is
    summed from the lines of its windows, `columns` at a time. A tile slides along the line, and its first Lanes are
    stored when no further window adds to them: this is 1.4 to 2 times as fast as loading and storing a piece of the
    line for each window, where each load waits for the previous store.

    stride: the stride of columns.
    lines: scratch [oh, columns with the padding and more, 16].
    """
    done = min(kernel_width, stride)

    def function(dy, row_weights, column_weights, factor, down, across, lines, dx):
        oh, ow, width = dy.shape[2], dy.shape[3], dx.shape[3]
        for r in range(oh):
            for u in range(lines.shape[1]):
                store(lines, (r, u), splat(0.0))
        for n in range(dx.shape[0]):
            for c in range(dx.shape[1]):
                made = 0
                for h in range(dx.shape[2]):
                    first_r, last_r = windows_over(h, down, oh)
                    for r in range(made, last_r):
                        tile = tile_zeros(kernel_width)
                        for q in range(ow):
                            weights = broadcast_last(column_weights, (q, 0), 1, kernel_width)
                            tile = tile_fma(tile, load_row(dy, (n, c, r, q), 1, 1), weights)
                            store_first(lines[r], (q * stride,), tile, 1, done, 1)
                            tile = tile_slide(tile, stride)
                        store_first(lines[r], (ow * stride,), tile, 1, kernel_width, 1)
                    made = max(made, last_r)
                    for begin in range(0, width, columns):
                        w = min(begin, width - columns)
                        tile = tile_zeros(columns)
                        for r in range(first_r, last_r):
                            weight = splat(row_weights[r, h + down.padding - r * down.stride])
                            row = load_row(lines, (r, w + across.padding), 1, columns)
                            tile = tile_fma(tile, (weight,), row)
                        tile = tile_scale(tile, splat(factor[c]), splat(0.0))
                        store_tile(dx, (n, c, h, w), tile, 1, 1, columns)

    return function


@specialized("f4:5 f4:2 f4:2 f4:1 axis axis f4:5")
def window_backward_data_apart(kernel_height, kernel_width):
    """Compute the same as `window_backward_data` if every pixel lies in exactly one window; each dy is read once."""
    size = kernel_height * kernel_width
    unrolled = size <= UNROLLED

    def function(dy, row_weights, column_weights, factor, down, across, dx):
        height, width, ow = dx.shape[2], dx.shape[3], dy.shape[3]
        first, _ = whole_windows(across, width, ow)
        weights = broadcast_last(column_weights, (min(first, ow - 1), 0), 1, kernel_width)
        for n in range(dx.shape[0]):
            for c in range(dx.shape[1]):
                scale = splat(factor[c])
                for r in range(dy.shape[2]):
                    top, first_i, last_i = span(r, down, height)
                    heights = broadcast_last(row_weights, (r, 0), 1, kernel_height)
                    for q in range(ow):
                        left, first_j, last_j = span(q, across, width)
                        value = load(dy, (n, c, r, q)) * scale
                        whole = last_i - first_i == kernel_height and last_j - first_j == kernel_width
                        if unrolled and whole:
                            values = tile_fma(tile_zeros(kernel_height), heights, (value,))
                            tile = tile_fma(tile_zeros(size), values, weights)
                            store_window(dx, (n, c, top, left), tile, 1, kernel_height, kernel_width)
                        else:
                            for i in range(first_i, last_i):
                                for j in range(first_j, last_j):
                                    share = value * splat(row_weights[r, i]) * splat(column_weights[q, j])
                                    store(dx, (n, c, top + i, left + j), share)

    return function


@specialized("f4:5 f4:5 f4:2 f4:2 axis axis i8:1 i8:1")
def window_backward_factor(kernel_height, kernel_width):
    """g[c] += sum over windows and samples of dy[c, r, q] * the window's weighted sum; g holds exact sums."""
    unrolled = kernel_height * kernel_width <= UNROLLED

    def function(x, dy, row_weights, column_weights, down, across, g, guard):
        first, last = whole_windows(across, x.shape[3], dy.shape[3])
        weights = broadcast_last(column_weights, (min(first, dy.shape[3] - 1), 0), 1, kernel_width)
        for n in range(dy.shape[0]):
            for c in range(dy.shape[1]):
                total = splat(0.0)
                for r in range(dy.shape[2]):
                    top = r * down.stride - down.padding
                    heights = broadcast_last(row_weights, (r, 0), 1, kernel_height)
                    tall = 0 <= top <= x.shape[2] - kernel_height
                    for q in range(first):
                        value = _sum_inside(x, n, c, r, q, row_weights, column_weights, down, across)
                        total = fma(value, load(dy, (n, c, r, q)), total)
                    for q in range(first, last):
                        at = n, c, top, q * across.stride - across.padding
                        if unrolled and tall:
                            window = load_window(x, at, 1, kernel_height, kernel_width)
                            value = tile_weighted_sum(window, heights, weights)
                        else:
                            value = _sum_of_rows(x, at, row_weights[r], weights, kernel_width, down)
                        total = fma(value, load(dy, (n, c, r, q)), total)
                    for q in range(last, dy.shape[3]):
                        value = _sum_inside(x, n, c, r, q, row_weights, column_weights, down, across)
                        total = fma(value, load(dy, (n, c, r, q)), total)
                add_sums(g, (c,), (total,), 1, 1, 0, 0, guard)

    return function


@kernel("f4:5 f4 f4:5")
def global_mean_forward(x, share, y):
    """y[c] = share * sum of x[c], share = 1 / pixels; each row is summed first."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            total = splat(0.0)
            for r in range(x.shape[2]):
                of_row = splat(0.0)
                for q in range(x.shape[3]):
                    of_row = of_row + load(x, (n, c, r, q))
                total = total + of_row
            store(y, (n, c, 0, 0), total * splat(share))


@kernel("f4:5 f4 f4:5")
def global_mean_backward(dy, share, dx):
    """dx[c, r, q] = share * dy[c]."""
    for n in range(dx.shape[0]):
        for c in range(dx.shape[1]):
            value = load(dy, (n, c, 0, 0)) * splat(share)
            for r in range(dx.shape[2]):
                for q in range(dx.shape[3]):
                    store(dx, (n, c, r, q), value)
