"""Radial basis units: squared distances from fixed centers.

Shapes: x and dx [1, features, 16], centers [units, features], y and dy [1, units, 16].
"""

from distcnn.kernels.jit import kernel
from distcnn.lanes import fma, load, splat, store


@kernel("f4:3 f4:2 f4:3")
def radial_forward(x, centers, y):
    """y[k] = -sum over j of (x[j] - centers[k, j])**2."""
    for k in range(centers.shape[0]):
        total = splat(0.0)
        for j in range(centers.shape[1]):
            distance = load(x, (0, j)) - splat(centers[k, j])
            total = fma(distance, distance, total)
        store(y, (0, k), splat(0.0) - total)


@kernel("f4:3 f4:2 f4:3 f4:3")
def radial_backward(x, centers, dy, dx):
    """dx[j] = -2 * sum over k of dy[k] * (x[j] - centers[k, j])."""
    for j in range(centers.shape[1]):
        value, total = load(x, (0, j)), splat(0.0)
        for k in range(centers.shape[0]):
            total = fma(load(dy, (0, k)), value - splat(centers[k, j]), total)
        store(dx, (0, j), total * splat(-2.0))
