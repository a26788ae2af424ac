"""Weighted sums over windows: mean, Gaussian and trainable pooling, forward and both gradients.

Shapes: x and dx [blocks, c, h, w, 16], y and dy [blocks, c, oh, ow, 16]. Padding is never stored: a window is what of
it lies inside the image. The weight of a window's pixel is the product of its row's and its column's, `rows` [oh, kh]
and `columns` [ow, kw]; each channel has a factor and a bias.
"""

from distcnn.kernels.axis import span, windows_over
from distcnn.kernels.compile import kernel, specialised
from distcnn.lanes import add_sums, fma, load, splat, store


@specialised("f4:5 f4:2 f4:2 f4:1 f4:1 axis axis f4:5")
def window_forward(kernel_height, kernel_width):
    """y[c, r, q] = bias[c] + factor[c] * sum over i, j of rows[r, i] * columns[q, j] * x[c, i, j of the window]."""

    def function(x, rows, columns, factor, bias, down, across, y):
        height, width = x.shape[2], x.shape[3]
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                scale, offset = splat(factor[c]), splat(bias[c])
                for r in range(y.shape[2]):
                    top, first_i, last_i = span(r, down, height)
                    for q in range(y.shape[3]):
                        left, first_j, last_j = span(q, across, width)
                        total = splat(0.0)
                        if last_i - first_i == kernel_height and last_j - first_j == kernel_width:
                            for i in range(kernel_height):  # a whole window: constant bounds, unrolled
                                part = splat(0.0)
                                for j in range(kernel_width):
                                    part = fma(splat(columns[q, j]), load(x, (n, c, top + i, left + j)), part)
                                total = fma(splat(rows[r, i]), part, total)
                        else:
                            for i in range(first_i, last_i):
                                part = splat(0.0)
                                for j in range(first_j, last_j):
                                    part = fma(splat(columns[q, j]), load(x, (n, c, top + i, left + j)), part)
                                total = fma(splat(rows[r, i]), part, total)
                        store(y, (n, c, r, q), fma(scale, total, offset))

    return function


@kernel("f4:5 f4:2 f4:2 f4:1 axis axis f4:5")
def window_backward_data(dy, rows, columns, factor, down, across, dx):
    """dx[c, h, w] = factor[c] * sum over the windows of (h, w) of rows[r, i] * columns[q, j] * dy[c, r, q].

    Each dx collects from its windows, so that it is written once, wherever windows overlap or leave gaps.
    """
    oh, ow = dy.shape[2], dy.shape[3]
    for n in range(dx.shape[0]):
        for c in range(dx.shape[1]):
            scale = splat(factor[c])
            for h in range(dx.shape[2]):
                first_r, last_r = windows_over(h, down, oh)
                for w in range(dx.shape[3]):
                    first_q, last_q = windows_over(w, across, ow)
                    total = splat(0.0)
                    for r in range(first_r, last_r):
                        part = splat(0.0)
                        for q in range(first_q, last_q):
                            weight = splat(columns[q, w + across.padding - q * across.stride])
                            part = fma(weight, load(dy, (n, c, r, q)), part)
                        total = fma(splat(rows[r, h + down.padding - r * down.stride]), part, total)
                    store(dx, (n, c, h, w), total * scale)


@specialised("f4:5 f4:2 f4:2 f4:1 axis axis f4:5")
def window_backward_data_apart(kernel_height, kernel_width):
    """Do the same where every pixel lies in exactly one window: each dy is read once, 3 times faster."""

    def function(dy, rows, columns, factor, down, across, dx):
        height, width = dx.shape[2], dx.shape[3]
        for n in range(dx.shape[0]):
            for c in range(dx.shape[1]):
                scale = splat(factor[c])
                for r in range(dy.shape[2]):
                    top, first_i, last_i = span(r, down, height)
                    for q in range(dy.shape[3]):
                        left, first_j, last_j = span(q, across, width)
                        value = load(dy, (n, c, r, q)) * scale
                        if last_i - first_i == kernel_height and last_j - first_j == kernel_width:
                            for i in range(kernel_height):
                                for j in range(kernel_width):
                                    part = value * splat(rows[r, i]) * splat(columns[q, j])
                                    store(dx, (n, c, top + i, left + j), part)
                        else:
                            for i in range(first_i, last_i):
                                for j in range(first_j, last_j):
                                    part = value * splat(rows[r, i]) * splat(columns[q, j])
                                    store(dx, (n, c, top + i, left + j), part)

    return function


@kernel("f4:5 f4:5 f4:2 f4:2 axis axis i8:1 i8:1")
def window_backward_factor(x, dy, rows, columns, down, across, g, guard):
    """g[c] += sum over windows and samples of dy[c, r, q] * the window's weighted sum; g holds exact sums."""
    height, width = x.shape[2], x.shape[3]
    for n in range(dy.shape[0]):
        for c in range(dy.shape[1]):
            total = splat(0.0)
            for r in range(dy.shape[2]):
                top, first_i, last_i = span(r, down, height)
                for q in range(dy.shape[3]):
                    left, first_j, last_j = span(q, across, width)
                    window = splat(0.0)
                    for i in range(first_i, last_i):
                        part = splat(0.0)
                        for j in range(first_j, last_j):
                            part = fma(splat(columns[q, j]), load(x, (n, c, top + i, left + j)), part)
                        window = fma(splat(rows[r, i]), part, window)
                    total = fma(window, load(dy, (n, c, r, q)), total)
            add_sums(g, (c,), (total,), 1, 1, 0, 0, guard)


@kernel("f4:5 f4 f4:5")
def global_mean_forward(x, share, y):
    """y[c] = share * sum of x[c], share = 1 / pixels; rows are summed first."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            total = splat(0.0)
            for r in range(x.shape[2]):
                part = splat(0.0)
                for q in range(x.shape[3]):
                    part = part + load(x, (n, c, r, q))
                total = total + part
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
