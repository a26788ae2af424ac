"""Maximum over windows, forward and backward; windows may overlap, be padded, or be cut off by the image's edge.

Shapes: x and dx [blocks, c, h, w, 16], y and dy [blocks, c, oh, ow, 16]. Padding is never stored: a window is
what of it lies inside the image.
"""

from numba import njit

from distcnn.kernels.axis import span
from distcnn.kernels.compile import specialised
from distcnn.lanes import (
    load,
    load_window,
    maximum,
    splat,
    store,
    store_window,
    tile_add,
    tile_maximum,
    tile_where_first,
    where_equal,
    where_positive,
)

UNROLLED = 16  # pixels of a window that is handled as a tile, in registers


@specialised("f4:5 axis axis f4:5")
def max_pool_forward(kernel_height, kernel_width, whole):
    """y[r, q] = the largest x of window (r, q), which lies as `down` and `across` tell.

    `whole`: no edge cuts off a window, so that none has to be asked, twice as fast.
    """
    unrolled = kernel_height * kernel_width <= UNROLLED

    def function(x, down, across, y):
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                for r in range(y.shape[2]):
                    top, first_i, last_i = span(r, down, x.shape[2])
                    for q in range(y.shape[3]):
                        left, first_j, last_j = span(q, across, x.shape[3])
                        uncut = last_i - first_i == kernel_height and last_j - first_j == kernel_width
                        if unrolled and (whole or uncut):
                            window = load_window(x, (n, c, top, left), 1, kernel_height, kernel_width)
                            largest = tile_maximum(window)
                        else:
                            largest = load(x, (n, c, top + first_i, left + first_j))
                            for i in range(first_i, last_i):
                                for j in range(first_j, last_j):
                                    largest = maximum(largest, load(x, (n, c, top + i, left + j)))
                        store(y, (n, c, r, q), largest)

    return function


@specialised("f4:5 f4:5 f4:5 axis axis f4:5")
def max_pool_backward(kernel_height, kernel_width, whole, partition, mask):
    """dx = dy at the first largest x of every window in row order, else 0; overlapping windows add up.

    `partition`: every x lies in exactly one window, so that dx is written once and not cleared before. With `mask`
    nothing flows where the largest is not above 0: the derivative of the ReLU that made x.
    """
    unrolled = kernel_height * kernel_width <= UNROLLED

    def function(x, y, dy, down, across, dx):
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                if not partition:
                    for h in range(x.shape[2]):
                        for v in range(x.shape[3]):
                            store(dx, (n, c, h, v), splat(0.0))
                for r in range(y.shape[2]):
                    top, first_i, last_i = span(r, down, x.shape[2])
                    for q in range(y.shape[3]):
                        left, first_j, last_j = span(q, across, x.shape[3])
                        uncut = last_i - first_i == kernel_height and last_j - first_j == kernel_width
                        largest, rest = load(y, (n, c, r, q)), load(dy, (n, c, r, q))
                        if mask:
                            rest = where_positive(largest, rest)
                        if unrolled and (whole or uncut):
                            at = n, c, top, left
                            window = load_window(x, at, 1, kernel_height, kernel_width)
                            shares = tile_where_first(window, largest, rest)
                            if not partition:
                                shares = tile_add(load_window(dx, at, 1, kernel_height, kernel_width), shares)
                            store_window(dx, at, shares, 1, kernel_height, kernel_width)
                        else:
                            for i in range(first_i, last_i):
                                for j in range(first_j, last_j):
                                    at = n, c, top + i, left + j
                                    rest = _pass_on(x, at, largest, rest, partition, dx)

    return function


@njit(inline="always")
def _pass_on(x, at, largest, rest, partition, dx):
    """Give dx[at] its share of what is left of a window's gradient: all of it at the largest x; return the rest."""
    value, zero = load(x, at), splat(0.0)
    part = where_equal(value, largest, rest, zero)
    store(dx, at, part if partition else load(dx, at) + part)
    return where_equal(value, largest, zero, rest)
