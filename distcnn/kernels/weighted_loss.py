"""Softmax with cross-entropy in which each class has a weight; kernels/loss.py has it without weights."""

from distcnn.kernels.jit import kernel
from distcnn.lanes import add_sums, exp, fma, load, log, maximum, splat, store, where_equal, where_greater
from distcnn.numerics.fixed_point import LOSS, WEIGHT


@kernel("f4:3 f4:1 f4:1 f4 f4:1 f8 f4:3 i8:1 i8:1")
def weighted_cross_entropy(z, label, weight, rejection, class_weight, smoothing, dz, counters, guard):
    """counters[LOSS, CORRECT, SAMPLES] += -sum of target * log softmax(z), correct answers, samples; exact sums.

    counters[WEIGHT] += the weight of each sample's class. The target of class k is class_weight[k] times that of
    `softmax_cross_entropy`, as in PyTorch's `CrossEntropyLoss(weight)`, also with label smoothing.

    class_weight: [classes], 0 or above.
    The other arguments are those of `softmax_cross_entropy`; SAMPLES and CORRECT count samples without their weights.
    """
    classes = z.shape[1]
    zero = splat(0.0)
    top, winner = load(z, (0, 0)), zero
    for k in range(1, classes):
        value = load(z, (0, k))
        winner = where_greater(value, top, splat(k), winner)
        top = maximum(top, value)
    top = maximum(top, splat(rejection))
    total = exp(splat(rejection) - top)
    for k in range(classes):
        power = exp(load(z, (0, k)) - top)
        total = total + power
        store(dz, (0, k), power)
    shared = smoothing / classes
    off, on = splat(shared), splat(1.0 - smoothing + shared)
    labels, weights, logarithm = load(label, ()), load(weight, ()), log(total) + top
    losses, targets, own = zero, zero, zero
    for k in range(classes):
        of_class = splat(class_weight[k])
        target = where_equal(labels, splat(k), on, off) * of_class
        losses = fma(target, logarithm - load(z, (0, k)), losses)
        targets = targets + target
        own = where_equal(labels, splat(k), of_class, own)
    scale = targets / total
    for k in range(classes):
        target = where_equal(labels, splat(k), on, off) * splat(class_weight[k])
        store(dz, (0, k), (load(dz, (0, k)) * scale - target) * weights)
    correct = where_equal(winner, labels, weights, zero)
    add_sums(counters, (LOSS,), (losses * weights, correct, weights), 1, 3, 0, 0, guard)
    add_sums(counters, (WEIGHT,), (own * weights,), 1, 1, 0, 0, guard)
