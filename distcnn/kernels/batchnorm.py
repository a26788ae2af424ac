"""Batch normalization over a group of blocks: statistics over its samples and all positions, forward and backward.

For each block, a kernel writes the sums of the block (of x forward, of dy backward) to its row of `rows`, float32
[blocks, ..., c]. From the rows of the whole group, another kernel computes `statistics`, float32 [6, c, 16], with the
same value in every lane. Kernels for each block read these statistics.

Shapes: x, y, dx and dy [1, c, h, w, 16]. weight [16] is 1 for a sample and 0 for an empty lane; sums do not include
empty lanes, and their dx is 0.
"""

import math

import numpy as np
from numba import njit

from distcnn.kernels.block_settings import TRAINING
from distcnn.kernels.jit import kernel, specialized
from distcnn.lanes import (
    add_sums,
    first_lane,
    fma,
    load,
    splat,
    square_root,
    store,
    total_over_lanes,
    where_greater,
    where_positive,
)

# Places in the statistics; SCALE = 1 / sqrt(variance + epsilon).
MEAN, SCALE, UNBIASED, SHARE, SLOPE, OFFSET = range(6)
SAMPLES, MEANS, SQUARES = range(3)  # places in a block's row, forward
PRODUCTS, TOTALS = range(2)  # and backward


@njit(inline="always")
def _moments(x, c, inside, share):
    """Return the mean and the sum of squares about it, in every lane; inside > 0 for a sample; share = 1 / count."""
    zero = splat(0.0)
    total = zero
    for r in range(x.shape[2]):
        of_row = zero
        for q in range(x.shape[3]):
            of_row = of_row + load(x, (0, c, r, q))
        total = total + of_row
    mean = total_over_lanes(where_greater(inside, zero, total, zero)) * splat(share)
    total = zero
    for r in range(x.shape[2]):
        of_row = zero
        for q in range(x.shape[3]):
            deviation = load(x, (0, c, r, q)) - mean
            of_row = fma(deviation, deviation, of_row)
        total = total + of_row
    return mean, total_over_lanes(where_greater(inside, zero, total, zero))


@kernel("f4:5 i8:1 f4:1 f4:3")
def batch_norm_moments(x, settings, weight, rows):
    """rows[0] = the number of samples of the block, the means, and the sums of squared deviations from the means.

    rows: [1, 3, c]; not written if this is not training.
    settings: as in kernels/block_settings.
    """
    if settings[TRAINING]:
        inside, samples = load(weight, ()), 0.0
        for s in range(16):
            samples += weight[s]
        share = 1.0 / (samples * x.shape[2] * x.shape[3])
        for c in range(x.shape[1]):
            mean, squares = _moments(x, c, inside, share)
            rows[0, SAMPLES, c] = samples
            rows[0, MEANS, c] = first_lane(mean)
            rows[0, SQUARES, c] = first_lane(squares)


@kernel("f4:3 f4:1 f4:1 f4 i8 i8:1 f4:3")
def batch_norm_statistics(rows, running_mean, running_variance, epsilon, positions, settings, statistics):
    """Compute the statistics of a group from its rows in training, else from the running statistics.

    rows: [blocks, 3, c].
    running_mean, running_variance: [c].
    positions: h * w.
    settings: as in kernels/block_settings.

    Blocks are combined one by one, in float64 (Chan, Golub, LeVeque 1983); blocks of 0 samples are skipped.
    """
    one = splat(1.0)
    for c in range(statistics.shape[1]):
        middle, variance = splat(running_mean[c]), splat(running_variance[c])
        if settings[TRAINING]:
            count, mean, squares = 0.0, 0.0, 0.0
            for b in range(rows.shape[0]):
                own = rows[b, SAMPLES, c] * np.float64(positions)
                if own > 0:
                    whole, change = count + own, rows[b, MEANS, c] - mean
                    squares += rows[b, SQUARES, c] + change * change * (count * own / whole)
                    mean, count = mean + change * (own / whole), whole
            share = splat(1.0 / count)
            middle, variance = splat(mean), splat(squares) * share
            store(statistics, (UNBIASED, c), variance * splat(count / max(count - 1.0, 1.0)))
            store(statistics, (SHARE, c), share)
        store(statistics, (MEAN, c), middle)
        store(statistics, (SCALE, c), one / square_root(variance + splat(epsilon)))


@specialized("f4:5 f4:1 f4:1 i8:1 f4:1 f4:3 i8:1 i8:1 i8:1 f4:5")
def batch_norm_forward(relu):
    """y = (x - mean) * scale * gamma + beta, or with `relu` the maximum of that and 0.

    In training each sample adds the mean, and the variance with Bessel's correction, to the exact sums `means` and
    `variances` [c], from which the running statistics are updated.
    """

    def function(x, gamma, beta, settings, weight, statistics, means, variances, guard, y):
        inside = load(weight, ())
        for c in range(x.shape[1]):
            middle = load(statistics, (MEAN, c))
            if settings[TRAINING]:
                add_sums(means, (c,), (middle * inside,), 1, 1, 0, 0, guard)
                unbiased = load(statistics, (UNBIASED, c))
                add_sums(variances, (c,), (unbiased * inside,), 1, 1, 0, 0, guard)
            factor, offset = load(statistics, (SCALE, c)) * splat(gamma[c]), splat(beta[c])
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = fma(load(x, (0, c, r, q)) - middle, factor, offset)
                    store(y, (0, c, r, q), where_positive(value, value) if relu else value)

    return function


@kernel("f4:5 f4:5 f4:1 f4:3 i8:1 i8:1 i8:1 f4:3")
def batch_norm_backward_parameters(x, dy, weight, statistics, dgamma, dbeta, guard, rows):
    """dgamma += sum of dy * (x - mean) * scale, dbeta += sum of dy, over the block; exact sums.

    rows[0] = the block's sums of dy * (x - mean) and of dy, for the gradient of the data; rows [1, 2, c].
    """
    inside, zero = load(weight, ()), splat(0.0)
    for c in range(x.shape[1]):
        middle, product, total = load(statistics, (MEAN, c)), zero, zero
        for r in range(x.shape[2]):
            products, values = zero, zero
            for q in range(x.shape[3]):
                value = load(dy, (0, c, r, q))
                products = fma(value, load(x, (0, c, r, q)) - middle, products)
                values = values + value
            product, total = product + products, total + values
        product, total = where_greater(inside, zero, product, zero), where_greater(inside, zero, total, zero)
        add_sums(dgamma, (c,), (product * load(statistics, (SCALE, c)),), 1, 1, 0, 0, guard)
        add_sums(dbeta, (c,), (total,), 1, 1, 0, 0, guard)
        rows[0, PRODUCTS, c] = first_lane(total_over_lanes(product))
        rows[0, TOTALS, c] = first_lane(total_over_lanes(total))


@kernel("f4:3 f4:3")
def batch_norm_backward_statistics(rows, statistics):
    """slope = mean of dy * (x - mean) * scale**2, offset = mean of dy, from the rows [blocks, 2, c] of a group."""
    for c in range(statistics.shape[1]):
        product, total = 0.0, 0.0
        for b in range(rows.shape[0]):
            product += rows[b, PRODUCTS, c]
            total += rows[b, TOTALS, c]
        share, inverse = load(statistics, (SHARE, c)), load(statistics, (SCALE, c))
        store(statistics, (SLOPE, c), splat(product) * share * inverse * inverse)
        store(statistics, (OFFSET, c), splat(total) * share)


@kernel("f4:5 f4:5 f4:1 f4:3 f4:1 f4:5")
def batch_norm_backward_data(x, dy, weight, statistics, gamma, dx):
    """dx = gamma * scale * (dy - mean of dy - z * mean of dy * z), z = (x - mean) * scale (Ioffe and Szegedy 2015)."""
    inside, zero = load(weight, ()), splat(0.0)
    for c in range(x.shape[1]):
        middle, offset = load(statistics, (MEAN, c)), load(statistics, (OFFSET, c))
        slope, factor = load(statistics, (SLOPE, c)), load(statistics, (SCALE, c)) * splat(gamma[c])
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                rest = load(dy, (0, c, r, q)) - offset
                rest = fma(zero - slope, load(x, (0, c, r, q)) - middle, rest)
                store(dx, (0, c, r, q), where_greater(inside, zero, rest * factor, zero))


@kernel("f4:1 i8:1 f8 f4")
def update_running_stats(running, sums, scale, momentum):
    """running += momentum * (sums * scale - running); sums = 0. scale: the quantum over the number of samples."""
    for k in range(running.size):
        change = sums[k] * scale - running[k]
        running[k] = running[k] + momentum * change
        sums[k] = 0


@kernel("f4:2 f4:1 f4:1 f4:1 f4:1 f4:1 f4 f4:2 f4:1")
def fold_norm(w, bias, gamma, beta, running_mean, running_variance, epsilon, folded, folded_bias):
    """folded = w * factor, folded_bias = (bias - mean) * factor + beta, factor = gamma / sqrt(variance + epsilon).

    w and folded: [channels, weights]. Computed in float64 from correctly rounded operations, then rounded once.
    """
    for o in range(w.shape[0]):
        factor = gamma[o] / math.sqrt(np.float64(running_variance[o]) + epsilon)
        for k in range(w.shape[1]):
            folded[o, k] = w[o, k] * factor
        folded_bias[o] = (np.float64(bias[o]) - running_mean[o]) * factor + beta[o]
