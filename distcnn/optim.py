"""Momentum updates from exact sums, and the learning rate as a function of the step."""

import math

import numpy as np

from distcnn.exact import QUANTUM
from distcnn.kernels.compile import ieee_mode, kernel
from distcnn.lanes import aligned, fma_scalar


@kernel("f4:1C f4:1C i8:1C f8 f4 f4 f4")
def momentum_update(w, v, sums, scale, learning_rate, momentum, weight_decay):
    """g = sums * scale + weight_decay * w; v = momentum * v + g; w = w - learning_rate * v; sums = 0.

    scale is the quantum over the number of samples, so that g is the mean gradient. A velocity below 2**-100 in
    magnitude becomes 0: it can no longer move a weight, and denormals are slow.
    """
    for k in range(w.size):
        gradient = np.float32(sums[k] * scale)
        gradient = fma_scalar(weight_decay, w[k], gradient)
        velocity = fma_scalar(momentum, v[k], gradient)
        velocity = velocity if not abs(velocity) < np.float32(2.0**-100) else np.float32(0)
        v[k] = velocity
        w[k] = fma_scalar(-learning_rate, velocity, w[k])
        sums[k] = 0


class Momentum:
    """Stochastic gradient descent with momentum (Polyak 1964, in PyTorch's form) over flat buffers.

    weights: flat float32 array, of which the first `trained` numbers (all, unless given) are parameters; velocities:
    the same, the optimiser's only state.
    """

    def __init__(self, weights, momentum, weight_decay, trained=None):
        self.parameters = weights[:trained]
        self.velocities = aligned(weights.shape)
        self.momentum, self.weight_decay = momentum, weight_decay

    def update(self, sums, samples, learning_rate):
        """Apply the mean of `samples` gradients, whose exact sums are in `sums`, and clear the sums."""
        rates = learning_rate, self.momentum, self.weight_decay
        with ieee_mode():
            momentum_update(self.parameters, self.velocities, sums, QUANTUM / samples, *map(float, rates))


def learning_rate(config, step, steps_per_epoch):
    """Return the learning rate of `step`, from 0, by `config.schedule`.

    It rises linearly over `config.warmup_epochs`, then stays, or falls to 0 along half a cosine at the end of
    `config.epochs` (Loshchilov and Hutter 2017, without restarts).
    """
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * min(1.0, (step + 1) / warmup)
    if config.schedule == "constant":
        return config.learning_rate
    return config.learning_rate * _half_cosine((step - warmup) / max(total - warmup, 1))


def _half_cosine(x):
    """Return (1 + cos(pi x)) / 2 for x in [0, 1] (0 beyond) within 1e-9, from products alone: libm differs by machine.

    With y = x - 1/2 it is (1 - sin(pi y)) / 2; the sine by its Taylor series to y**15.
    """
    angle = math.pi * (min(x, 1.0) - 0.5)
    square, term, sine = angle * angle, angle, angle
    for k in range(2, 16, 2):
        term *= -square / (k * (k + 1))
        sine += term
    return (1.0 - sine) / 2.0
