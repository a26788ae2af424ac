"""Maximum over windows, forward and backward; windows may overlap, be padded, or be cut off by the image's edge.

Shapes: x and dx [blocks, c, h, w, 16], y and dy [blocks, c, oh, ow, 16]. Padding is never stored: a window is
what of it lies inside the image.
"""

from distcnn.kernels.compile import specialised
from distcnn.lanes import load, maximum, splat, store, where_equal, where_positive


@specialised("f4:5 i8 f4:5")
def max_pool_forward(kernel_size, stride):
    """y[r, q] = the largest x of the window that starts at (stride*r - padding, stride*q - padding)."""

    def function(x, padding, y):
        height, width = x.shape[2], x.shape[3]
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                for r in range(y.shape[2]):
                    top, bottom = (
                        max(0, r * stride - padding),
                        min(height, r * stride - padding + kernel_size),
                    )
                    for q in range(y.shape[3]):
                        left, right = (
                            max(0, q * stride - padding),
                            min(width, q * stride - padding + kernel_size),
                        )
                        largest = load(x, (n, c, top, left))
                        if bottom - top == kernel_size and right - left == kernel_size:
                            for i in range(kernel_size):  # a whole window: constant bounds, unrolled
                                for j in range(kernel_size):
                                    largest = maximum(largest, load(x, (n, c, top + i, left + j)))
                        else:
                            for i in range(top, bottom):
                                for j in range(left, right):
                                    largest = maximum(largest, load(x, (n, c, i, j)))
                        store(y, (n, c, r, q), largest)

    return function


@specialised("f4:5 f4:5 f4:5 i8 f4:5")
def max_pool_backward(kernel_size, stride, partition, mask):
    """dx = dy at the first largest x of every window in row order, else 0; overlapping windows add up.

    `partition`: every x lies in exactly one window, so that dx is written once and not cleared before. With `mask`
    nothing flows where the largest is not above 0: the derivative of the ReLU that made x.
    """

    def function(x, y, dy, padding, dx):
        height, width = x.shape[2], x.shape[3]
        zero = splat(0.0)
        for n in range(y.shape[0]):
            for c in range(y.shape[1]):
                if not partition:
                    for r in range(height):
                        for q in range(width):
                            store(dx, (n, c, r, q), zero)
                for r in range(y.shape[2]):
                    top, bottom = (
                        max(0, r * stride - padding),
                        min(height, r * stride - padding + kernel_size),
                    )
                    for q in range(y.shape[3]):
                        left, right = (
                            max(0, q * stride - padding),
                            min(width, q * stride - padding + kernel_size),
                        )
                        largest = load(y, (n, c, r, q))
                        rest = load(dy, (n, c, r, q))
                        if mask:
                            rest = where_positive(largest, rest)
                        if bottom - top == kernel_size and right - left == kernel_size:
                            bottom, right = top + kernel_size, left + kernel_size
                            for i in range(kernel_size):
                                for j in range(kernel_size):
                                    at = (n, c, top + i, left + j)
                                    value = load(x, at)
                                    part = where_equal(value, largest, rest, zero)
                                    rest = where_equal(value, largest, zero, rest)
                                    store(dx, at, part if partition else load(dx, at) + part)
                        else:
                            for i in range(top, bottom):
                                for j in range(left, right):
                                    value = load(x, (n, c, i, j))
                                    part = where_equal(value, largest, rest, zero)
                                    rest = where_equal(value, largest, zero, rest)
                                    store(
                                        dx, (n, c, i, j), part if partition else load(dx, (n, c, i, j)) + part
                                    )

    return function
