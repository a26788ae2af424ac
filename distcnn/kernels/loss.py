"""The losses: loss, number of correct answers and the gradient of the outputs, in one pass over a block."""

from distcnn.kernels.jit import kernel
from distcnn.lanes import (
    absolute,
    add_sums,
    exp,
    fma,
    load,
    log,
    maximum,
    sigmoid,
    splat,
    store,
    where_equal,
    where_greater,
)
from distcnn.numerics.fixed_point import LOSS


@kernel("f4:3 f4:1 f4:1 f4 f8 f4:3 i8:1 i8:1")
def softmax_cross_entropy(z, label, weight, rejection, smoothing, dz, counters, guard):
    """counters[LOSS, CORRECT, SAMPLES] += -sum of target * log softmax(z), correct answers, samples; exact sums.

    The target is 1 at the label and 0 elsewhere; with label smoothing (Szegedy et al. 2016, section 7) it is (1 -
    smoothing) times that plus smoothing / classes.

    z, dz: [1, classes, 16], logits and gradient of the summed loss.
    label: [16], the class of each sample.
    weight: [16], 1 for a sample, 0 for an empty lane.
    rejection: the logit of one further class, to which no sample belongs (LeCun et al. 1998, equation 9), or -inf for
        no such class.
    smoothing: the fraction of a target that is spread over all classes, 0 for none.
    counters: int64, as in numerics.fixed_point.
    guard: as in lanes.sums.

    An answer is correct if the first of the largest logits is the label's. The largest logit is subtracted first, so
    that exp cannot overflow.
    """
    classes = z.shape[1]
    zero, one = splat(0.0), splat(1.0)
    top, winner = load(z, (0, 0)), zero
    for k in range(1, classes):
        value = load(z, (0, k))
        winner = where_greater(value, top, splat(k), winner)
        top = maximum(top, value)
    none = splat(rejection)
    shared = smoothing / classes
    off, on = splat(shared), splat(1.0 - smoothing + shared)
    top = maximum(top, none)
    total = exp(none - top)
    for k in range(classes):
        power = exp(load(z, (0, k)) - top)
        total = total + power
        store(dz, (0, k), power)
    labels, weights = load(label, ()), load(weight, ())
    scale, picked = one / total, zero
    for k in range(classes):
        target = where_equal(labels, splat(k), on, off)
        picked = fma(target, load(z, (0, k)), picked)
        store(dz, (0, k), (load(dz, (0, k)) * scale - target) * weights)
    losses = (log(total) + top - picked) * weights
    correct = where_equal(winner, labels, weights, zero)
    add_sums(counters, (LOSS,), (losses, correct, weights), 1, 3, 0, 0, guard)


@kernel("f4:3 f4:2 f4:1 f8 f4:3 i8:1 i8:1")
def sigmoid_cross_entropy(z, label, weight, smoothing, dz, counters, guard):
    """counters[LOSS, CORRECT, SAMPLES] += losses, samples of which all labels are right, samples; exact sums.

    The loss of a sample is the mean over its labels of -target * log s - (1 - target) * log(1 - s), where s is the
    sigmoid of a logit. The target is the label, 0 or 1; with label smoothing it is (1 - smoothing) times the label plus
    smoothing / 2.

    z, dz: [1, labels, 16], logits and gradient of the summed loss.
    label: [labels, 16], 1 for a label that the sample has, else 0.
    weight, counters, guard: as in `softmax_cross_entropy`.
    smoothing: the fraction of a target that is spread over both answers, 0 for none.

    An answer is right if exactly the labels of the sample have logits above 0. The loss of a logit is max(z, 0) -
    target * z + log(1 + e**-|z|), in which nothing can overflow; the logarithm is corrected by the rounding error of
    its argument.
    """
    zero, one = splat(0.0), splat(1.0)
    share, weights = splat(1.0 / z.shape[1]), load(weight, ())
    off, scale = splat(0.5 * smoothing), splat(1.0 - smoothing)
    losses = wrong = zero
    for k in range(z.shape[1]):
        logit, answer = load(z, (0, k)), load(label, (k,))
        target = fma(answer, scale, off)
        power = exp(zero - absolute(logit))
        total = one + power
        logarithm = log(total) + (power - (total - one)) / total
        losses = losses + (fma(zero - target, logit, maximum(logit, zero)) + logarithm)
        store(dz, (0, k), (sigmoid(logit) - target) * share * weights)
        wrong = maximum(wrong, absolute(where_greater(logit, zero, one, zero) - answer))
    correct = (one - wrong) * weights
    add_sums(counters, (LOSS,), (losses * share * weights, correct, weights), 1, 3, 0, 0, guard)


@kernel("f4:3 f4:2 f4:1 f4:1 f4:1 f4:3 i8:1 i8:1")
def squared_error(z, label, weight, mean, std, dz, counters, guard):
    """counters[LOSS, SAMPLES] += losses, samples; exact sums. No answer is right or wrong, so that CORRECT stays.

    The loss of a sample is the mean over its targets of (z - (label - mean) / std)**2.

    z, dz: [1, targets, 16], outputs and gradient of the summed loss.
    label: [targets, 16].
    weight, counters, guard: as in `softmax_cross_entropy`.
    mean, std: [targets], by which targets are standardized.
    """
    zero, share = splat(0.0), splat(1.0 / z.shape[1])
    losses, weights = zero, load(weight, ())
    for k in range(z.shape[1]):
        difference = load(z, (0, k)) - (load(label, (k,)) - splat(mean[k])) / splat(std[k])
        losses = fma(difference, difference, losses)
        store(dz, (0, k), (difference + difference) * share * weights)
    add_sums(counters, (LOSS,), (losses * share * weights, zero, weights), 1, 3, 0, 0, guard)
