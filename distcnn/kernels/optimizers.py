"""Optimizers: updates of parameters from exact sums, in one pass that also clears the sums; and sums of squares.

In all updates, g = sums * scale is the mean gradient, rounded once; scale is the quantum 2**-36 divided by the number
of samples, or smaller if gradients are clipped. Numbers of the optimizer's state below 2**-100 in magnitude become 0,
since they can no longer change a weight, and denormals are slow.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from distcnn.kernels.jit import Kernel, kernel
from distcnn.lanes import add_squares, fma_scalar


@njit(inline="always")
def _without_tiny(x):
    return x if not abs(x) < np.float32(2.0**-100) else np.float32(0)


@kernel("f4:1C f4:1C i8:1C f8 f4 f4 f4")
def sgd_update(w, v, sums, scale, learning_rate, momentum, weight_decay):
    """g = g + weight_decay * w; v = momentum * v + g; w = w - learning_rate * v; sums = 0."""
    for k in range(w.size):
        gradient = np.float32(sums[k] * scale)
        gradient = fma_scalar(weight_decay, w[k], gradient)
        velocity = _without_tiny(fma_scalar(momentum, v[k], gradient))
        v[k] = velocity
        w[k] = fma_scalar(-learning_rate, velocity, w[k])
        sums[k] = 0


@kernel("f4:1C f4:1C i8:1C f8 f4 f4 f4")
def nesterov_update(w, v, sums, scale, learning_rate, momentum, weight_decay):
    """g = g + weight_decay * w; v = momentum * v + g; w = w - learning_rate * (momentum * v + g); sums = 0."""
    for k in range(w.size):
        gradient = np.float32(sums[k] * scale)
        gradient = fma_scalar(weight_decay, w[k], gradient)
        velocity = _without_tiny(fma_scalar(momentum, v[k], gradient))
        v[k] = velocity
        w[k] = fma_scalar(-learning_rate, fma_scalar(momentum, velocity, gradient), w[k])
        sums[k] = 0


@kernel("f4:1C f4:1C i8:1C f8 f4 f4 f4")
def lars_update(w, v, sums, scale, rate, momentum, weight_decay):
    """g = g + weight_decay * w; v = momentum * v + rate * g; w = w - v; sums = 0."""
    for k in range(w.size):
        gradient = np.float32(sums[k] * scale)
        gradient = fma_scalar(weight_decay, w[k], gradient)
        velocity = _without_tiny(fma_scalar(rate, gradient, momentum * v[k]))
        v[k] = velocity
        w[k] = w[k] - velocity
        sums[k] = 0


@kernel("f4:1C f4:1C f4:1C i8:1C f8 f4 f4 f8 f8 f4 f4")
def adamw_update(w, means, squares, sums, scale, rate, left, beta1, beta2, correction, epsilon):
    """w = left * w - rate * mean / (correction * sqrt(square) + epsilon); sums = 0.

    Before that, mean = beta1 * mean + (1 - beta1) * g and square = beta2 * square + (1 - beta2) * g * g (Loshchilov and
    Hutter 2019).

    left: 1 - learning rate * weight decay, the factor by which weight decay multiplies a weight.
    """
    old1, new1 = np.float32(beta1), np.float32(1.0 - beta1)
    old2, new2 = np.float32(beta2), np.float32(1.0 - beta2)
    for k in range(w.size):
        gradient = np.float32(sums[k] * scale)
        mean = _without_tiny(fma_scalar(old1, means[k], new1 * gradient))
        square = _without_tiny(fma_scalar(old2, squares[k], new2 * gradient * gradient))
        means[k], squares[k] = mean, square
        deviation = fma_scalar(correction, np.float32(math.sqrt(square)), epsilon)
        w[k] = fma_scalar(-rate, mean / deviation, left * w[k])
        sums[k] = 0


@kernel("f4:1C f4:1C f4")
def ema_update(ema, weights, share):
    """ema = ema + share * (weights - ema)."""
    for k in range(weights.size):
        ema[k] = fma_scalar(share, weights[k] - ema[k], ema[k])


CHAINS = 64  # independent sums, four Lanes; in a single sum, each addition would wait for the previous one


def _squares(code, name):
    def squares(x, totals):
        """totals[0] = sum of x[k]**2, in float64: first over equal k % 64, ascending, then these sums; totals [64]."""
        whole = x.size // CHAINS * CHAINS
        for s in range(CHAINS):
            totals[s] = 0.0
        for start in range(0, whole, CHAINS):
            for chain in range(0, CHAINS, 16):
                add_squares(x, start + chain, totals, chain)
        for s in range(x.size - whole):
            value = np.float64(x[whole + s])
            totals[s] += value * value
        for s in range(1, CHAINS):
            totals[0] += totals[s]

    return Kernel(squares, f"{code}:1C f8:1C", name)


squares_of_sums = _squares("i8", "squares_of_sums")
squares_of_weights = _squares("f4", "squares_of_weights")


class Update(NamedTuple):
    """The kernel that updates the weights for an optimizer, and the names of the settings that it reads."""

    kernel: Kernel
    settings: tuple[str, ...]


# The names of optimizers are declared here; training/optimizers.py has a class for each.
UPDATES = {
    "sgd": Update(sgd_update, ("momentum",)),
    "nesterov": Update(nesterov_update, ("momentum",)),
    "adamw": Update(adamw_update, ("momentum", "beta2", "epsilon")),
    "lars": Update(lars_update, ("momentum", "trust_coefficient")),
}
