"""Skip connections: sums and copies of whole arrays [1, c, h, w, 16], which may be views."""

from distcnn.kernels.jit import kernel, specialized
from distcnn.lanes import load, splat, store, where_positive


@specialized("f4:5 f4:5 i8 f4:5")
def add_forward(relu):
    """y[c, r, q] = x[c, r, q] + skip[c, stride * r, stride * q], or x where skip has fewer channels.

    With `relu`, y is the maximum of that and 0.
    """

    def function(x, skip, stride, y):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = load(x, (0, c, r, q))
                    if c < skip.shape[1]:
                        value = value + load(skip, (0, c, stride * r, stride * q))
                    store(y, (0, c, r, q), where_positive(value, value) if relu else value)

    return function


@kernel("f4:5 i8 f4:5")
def spread(dy, stride, dx):
    """dx[c, stride * r, stride * q] += dy[c, r, q], for the channels of dx."""
    for c in range(dx.shape[1]):
        for r in range(dy.shape[2]):
            for q in range(dy.shape[3]):
                at = (0, c, stride * r, stride * q)
                store(dx, at, load(dx, at) + load(dy, (0, c, r, q)))


@kernel("f4:5 f4:5")
def copy(x, y):
    """y = x."""
    for c in range(x.shape[1]):
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                store(y, (0, c, r, q), load(x, (0, c, r, q)))


@kernel("f4:5")
def clear(x):
    """x = 0."""
    for c in range(x.shape[1]):
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                store(x, (0, c, r, q), splat(0.0))
