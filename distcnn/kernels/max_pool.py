"""Maximum over windows, forward and backward; windows may overlap, and the edge of the image may cut them off.

Shapes: x and dx [blocks, c, h, w, 16], y and dy [blocks, c, oh, ow, 16]. Padding is not stored; only pixels of a window
inside the image count.
"""

from numba import njit

from distcnn.kernels.axis import span, whole_windows
from distcnn.kernels.jit import specialized
from distcnn.lanes import (
    load,
    load_window,
    maximum,
    prefetch_window,
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


@specialized("f4:5 axis axis f4:5")
def max_pool_forward(kernel_height, kernel_width, whole, ahead):
    """y[r, q] = the largest x of window (r, q), whose rows and columns the Axes `down` and `across` describe.

    whole: whether no edge cuts off a window.
    ahead: how many pixels of the next row of windows to prefetch with each window, in the order of memory: 1.1 to 2.8
        times as fast if x does not fit into the caches of a core, else slower by a tenth.
    """
    unrolled = kernel_height * kernel_width <= UNROLLED

    def function(x, down, across, y):
        uncut = _uncut_windows(across, x.shape[3], y.shape[3], whole)
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                for r in range(y.shape[2]):
                    top, first_i, last_i = span(r, down, x.shape[2])
                    tall = unrolled and (whole or last_i - first_i == kernel_height)
                    first, last = uncut if tall else (0, 0)
                    for q in range(first, last):
                        if unrolled:
                            left = q * across.stride - across.padding
                            window = load_window(x, (n, c, top, left), 1, kernel_height, kernel_width)
                            store(y, (n, c, r, q), tile_maximum(window))
                            prefetch_window(x, (n, c, top + kernel_height, q * ahead), 1, ahead)
                    for begin, end in ((0, first), (last, y.shape[3])):
                        for q in range(begin, end):
                            left, first_j, last_j = span(q, across, x.shape[3])
                            largest = load(x, (n, c, top + first_i, left + first_j))
                            for i in range(first_i, last_i):
                                for j in range(first_j, last_j):
                                    largest = maximum(largest, load(x, (n, c, top + i, left + j)))
                            store(y, (n, c, r, q), largest)

    return function


@specialized("f4:5 f4:5 f4:5 axis axis f4:5")
def max_pool_backward(kernel_height, kernel_width, whole, partition, mask, ahead):
    """dx = dy at the first largest x of every window in row order, else 0; gradients of overlapping windows are added.

    whole, ahead: as in `max_pool_forward`; x and dx are prefetched.
    partition: whether every x lies in exactly one window, so that dx is written once and not cleared before.
    mask: whether the gradient is 0 where the largest x is not above 0: the derivative of the ReLU whose output is x.
    """
    unrolled = kernel_height * kernel_width <= UNROLLED

    def function(x, y, dy, down, across, dx):
        uncut = _uncut_windows(across, x.shape[3], y.shape[3], whole)
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                cleared = 0
                for r in range(y.shape[2]):
                    top, first_i, last_i = span(r, down, x.shape[2])
                    if not partition:
                        cleared = _clear(dx, n, c, cleared, top + last_i)
                    tall = unrolled and (whole or last_i - first_i == kernel_height)
                    first, last = uncut if tall else (0, 0)
                    for q in range(first):
                        _backward_window(x, y, dy, n, c, r, q, down, across, partition, mask, dx)
                    for q in range(first, last):
                        if unrolled:
                            at = n, c, top, q * across.stride - across.padding
                            largest, rest = load(y, (n, c, r, q)), load(dy, (n, c, r, q))
                            if mask:
                                rest = where_positive(largest, rest)
                            window = load_window(x, at, 1, kernel_height, kernel_width)
                            shares = tile_where_first(window, largest, rest)
                            if not partition:
                                shares = tile_add(load_window(dx, at, 1, kernel_height, kernel_width), shares)
                            store_window(dx, at, shares, 1, kernel_height, kernel_width)
                            prefetch_window(x, (n, c, top + kernel_height, q * ahead), 1, ahead)
                            prefetch_window(dx, (n, c, top + kernel_height, q * ahead), 1, ahead)
                    for q in range(last, y.shape[3]):
                        _backward_window(x, y, dy, n, c, r, q, down, across, partition, mask, dx)
                if not partition:
                    _clear(dx, n, c, cleared, dx.shape[2])

    return function


@njit(inline="always")
def _uncut_windows(axis, size, count, whole):
    """Return the first and last (excluded) of `count` windows that no edge cuts off.

    If `whole`, a compile-time constant, these are all windows: not dividing makes pooling 3 to 6 % faster.
    """
    return (0, count) if whole else whole_windows(axis, size, count)


@njit(inline="always")
def _clear(dx, n, c, begin, end):
    """Set rows begin ... end (excluded) of dx to 0; return the first row that is not cleared."""
    for h in range(begin, end):
        for v in range(dx.shape[3]):
            store(dx, (n, c, h, v), splat(0.0))
    return max(begin, end)


@njit(inline="always")
def _backward_window(x, y, dy, n, c, r, q, down, across, partition, mask, dx):
    """Add the gradient of window (r, q), which an edge may cut off, to dx."""
    top, first_i, last_i = span(r, down, x.shape[2])
    left, first_j, last_j = span(q, across, x.shape[3])
    largest, rest = load(y, (n, c, r, q)), load(dy, (n, c, r, q))
    if mask:
        rest = where_positive(largest, rest)
    for i in range(first_i, last_i):
        for j in range(first_j, last_j):
            rest = _backward_pixel(x, (n, c, top + i, left + j), largest, rest, partition, dx)


@njit(inline="always")
def _backward_pixel(x, at, largest, rest, partition, dx):
    """Add the gradient of a window to dx[at] if x[at] is the largest; return 0 then, else the gradient."""
    value, zero = load(x, at), splat(0.0)
    share = where_equal(value, largest, rest, zero)
    store(dx, at, share if partition else load(dx, at) + share)
    return where_equal(value, largest, zero, rest)
