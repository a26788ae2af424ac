"""Batch normalisation over one block: statistics over its samples and all positions, forward and backward.

Shapes: x, y, dx and dy [1, c, h, w, 16]; weight [16], 1 for a sample and 0 for an empty lane, which is left out of
every sum and whose dx is 0; mean and scale [c, 16], kept for the way back, scale = 1 / sqrt(variance + epsilon).
"""

import math

import numpy as np
from numba import njit

from distcnn.kernels.compile import kernel, specialised
from distcnn.lanes import (
    add_sums,
    fma,
    load,
    splat,
    square_root,
    store,
    total_over_lanes,
    where_greater,
    where_positive,
)


@njit(inline="always")
def _moments(x, c, inside, share):
    """Return the mean and the mean square about it, in every lane; inside > 0 for a sample, share = 1 / numbers."""
    zero = splat(0.0)
    total = zero
    for r in range(x.shape[2]):
        part = zero
        for q in range(x.shape[3]):
            part = part + load(x, (0, c, r, q))
        total = total + part
    mean = total_over_lanes(where_greater(inside, zero, total, zero)) * splat(share)
    total = zero
    for r in range(x.shape[2]):
        part = zero
        for q in range(x.shape[3]):
            deviation = load(x, (0, c, r, q)) - mean
            part = fma(deviation, deviation, part)
        total = total + part
    return mean, total_over_lanes(where_greater(inside, zero, total, zero)) * splat(share)


@specialised("f4:5 f4:1 f4:1 f4 f4:1 f4:1 i8:1 f4:1 f4:2 f4:2 i8:1 i8:1 i8:1 f4:5")
def batch_norm_forward(relu):
    """y = (x - mean) / sqrt(variance + epsilon) * gamma + beta, and with `relu` what the ReLU behind it gives.

    In training (moment[0]) the statistics are the block's; each sample adds the mean, and the variance with Bessel's
    correction, to the exact sums of the running statistics. Otherwise they are the running statistics.
    """

    def function(
        x,
        gamma,
        beta,
        epsilon,
        running_mean,
        running_variance,
        moment,
        weight,
        mean,
        scale,
        means,
        variances,
        guard,
        y,
    ):
        one, inside, samples = splat(1.0), load(weight, ()), 0.0
        for s in range(16):
            samples += weight[s]
        count = samples * x.shape[2] * x.shape[3]
        for c in range(x.shape[1]):
            if moment[0]:
                middle, variance = _moments(x, c, inside, 1.0 / count)
                add_sums(means, (c,), (middle * inside,), 1, 1, 0, 0, guard)
                unbiased = variance * splat(count / max(count - 1.0, 1.0))
                add_sums(variances, (c,), (unbiased * inside,), 1, 1, 0, 0, guard)
            else:
                middle, variance = splat(running_mean[c]), splat(running_variance[c])
            inverse = one / square_root(variance + splat(epsilon))
            store(mean, (c,), middle)
            store(scale, (c,), inverse)
            factor, offset = inverse * splat(gamma[c]), splat(beta[c])
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = fma(load(x, (0, c, r, q)) - middle, factor, offset)
                    store(y, (0, c, r, q), where_positive(value, value) if relu else value)

    return function


@kernel("f4:5 f4:5 f4:1 f4:2 f4:2 i8:1 i8:1 i8:1 f4:2 f4:2")
def batch_norm_backward_parameters(x, dy, weight, mean, scale, dgamma, dbeta, guard, products, totals):
    """dgamma += sum of dy * (x - mean) * scale, dbeta += sum of dy, over the block; exact sums.

    products, totals [c, 16]: each lane's sums of dy * (x - mean) and of dy, for the gradient of the data.
    """
    inside, zero = load(weight, ()), splat(0.0)
    for c in range(x.shape[1]):
        middle, product, total = load(mean, (c,)), zero, zero
        for r in range(x.shape[2]):
            of_row, part = zero, zero
            for q in range(x.shape[3]):
                value = load(dy, (0, c, r, q))
                of_row = fma(value, load(x, (0, c, r, q)) - middle, of_row)
                part = part + value
            product, total = product + of_row, total + part
        product, total = where_greater(inside, zero, product, zero), where_greater(inside, zero, total, zero)
        add_sums(dgamma, (c,), (product * load(scale, (c,)),), 1, 1, 0, 0, guard)
        add_sums(dbeta, (c,), (total,), 1, 1, 0, 0, guard)
        store(products, (c,), product)
        store(totals, (c,), total)


@kernel("f4:5 f4:5 f4:1 f4:2 f4:2 f4:1 f4:2 f4:2 f4:5")
def batch_norm_backward_data(x, dy, weight, mean, scale, gamma, products, totals, dx):
    """dx = gamma * scale * (dy - mean of dy - z * mean of dy * z), z = (x - mean) * scale (Ioffe and Szegedy 2015)."""
    inside, zero, samples = load(weight, ()), splat(0.0), 0.0
    for s in range(16):
        samples += weight[s]
    share = splat(1.0 / (samples * x.shape[2] * x.shape[3]))
    for c in range(x.shape[1]):
        middle, inverse = load(mean, (c,)), load(scale, (c,))
        slope = total_over_lanes(load(products, (c,))) * share * inverse * inverse
        offset = total_over_lanes(load(totals, (c,))) * share
        factor = inverse * splat(gamma[c])
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                rest = load(dy, (0, c, r, q)) - offset
                rest = fma(zero - slope, load(x, (0, c, r, q)) - middle, rest)
                store(dx, (0, c, r, q), where_greater(inside, zero, rest * factor, zero))


@kernel("f4:1 i8:1 f8 f4")
def move_statistics(running, sums, scale, momentum):
    """running += momentum * (sums * scale - running); sums = 0. scale: the quantum over the number of samples."""
    for k in range(running.size):
        change = sums[k] * scale - running[k]
        running[k] = running[k] + momentum * change
        sums[k] = 0


@kernel("f4:2 f4:1 f4:1 f4:1 f4:1 f4:1 f4 f4:2 f4:1")
def fold_norm(w, bias, gamma, beta, running_mean, running_variance, epsilon, folded, folded_bias):
    """folded = w * factor, folded_bias = (bias - mean) * factor + beta, factor = gamma / sqrt(variance + epsilon).

    w and folded: [channels, weights]. Computed in float64, of operations that round alike everywhere, and rounded once.
    """
    for o in range(w.shape[0]):
        factor = gamma[o] / math.sqrt(np.float64(running_variance[o]) + epsilon)
        for k in range(w.shape[1]):
            folded[o, k] = w[o, k] * factor
        folded_bias[o] = (np.float64(bias[o]) - running_mean[o]) * factor + beta[o]
