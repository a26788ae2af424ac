"""Softmax with cross-entropy: loss, number of correct answers and the gradient of the logits."""

from distcnn.kernels.jit import kernel
from distcnn.lanes import add_sums, exp, fma, load, log, maximum, splat, store, where_equal, where_greater
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
