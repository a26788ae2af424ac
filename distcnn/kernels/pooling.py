"""Maximum over windows, forward and backward; windows may overlap, be padded, or be cut off by the image's edge.

Shapes: x and dx [blocks, c, h, w, 16], y and dy [blocks, c, oh, ow, 16]. Padding is never stored: a window is
what of it lies inside the image.
"""

from numba import njit

from distcnn.kernels.axis import span
from distcnn.kernels.compile import specialised
from distcnn.lanes import load, maximum, splat, store, where_equal, where_positive


@specialised("f4:5 axis axis f4:5")
def max_pool_forward(kernel_height, kernel_width):
    """y[r, q] = the largest x of window (r, q), which lies as `down` and `across` tell."""

    def function(x, down, across, y):
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                for r in range(y.shape[2]):
                    top, first_i, last_i = span(r, down, x.shape[2])
                    for q in range(y.shape[3]):
                        left, first_j, last_j = span(q, across, x.shape[3])
                        largest = load(x, (n, c, top + first_i, left + first_j))
                        if last_i - first_i == kernel_height and last_j - first_j == kernel_width:
                            for i in range(kernel_height):  # a whole window: constant bounds, unrolled
                                for j in range(kernel_width):
                                    largest = maximum(largest, load(x, (n, c, top + i, left + j)))
                        else:
                            for i in range(first_i, last_i):
                                for j in range(first_j, last_j):
                                    largest = maximum(largest, load(x, (n, c, top + i, left + j)))
                        store(y, (n, c, r, q), largest)

    return function


@njit(inline="always")
def _pass_on(x, at, largest, rest, partition, dx):
    """Give dx[at] its share of what is left of a window's gradient: all of it at the largest x; return the rest."""
    value, zero = load(x, at), splat(0.0)
    part = where_equal(value, largest, rest, zero)
    store(dx, at, part if partition else load(dx, at) + part)
    return where_equal(value, largest, zero, rest)


@specialised("f4:5 f4:5 f4:5 axis axis f4:5")
def max_pool_backward(kernel_height, kernel_width, partition, mask):
    """dx = dy at the first largest x of every window in row order, else 0; overlapping windows add up.

    `partition`: every x lies in exactly one window, so that dx is written once and not cleared before. With `mask`
    nothing flows where the largest is not above 0: the derivative of the ReLU that made x.
    """

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
                        largest, rest = load(y, (n, c, r, q)), load(dy, (n, c, r, q))
                        if mask:
                            rest = where_positive(largest, rest)
                        if last_i - first_i == kernel_height and last_j - first_j == kernel_width:
                            for i in range(kernel_height):
                                for j in range(kernel_width):
                                    at = n, c, top + i, left + j
                                    rest = _pass_on(x, at, largest, rest, partition, dx)
                        else:
                            for i in range(first_i, last_i):
                                for j in range(first_j, last_j):
                                    at = n, c, top + i, left + j
                                    rest = _pass_on(x, at, largest, rest, partition, dx)

    return function
