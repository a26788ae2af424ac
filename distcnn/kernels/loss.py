"""Softmax and cross-entropy in one: loss, number of correct answers and the gradient of the logits."""

from distcnn.kernels.jit import kernel
from distcnn.lanes import add_sums, exp, fma, load, log, maximum, splat, store, where_equal, where_greater
from distcnn.numerics.fixed_point import LOSS


@kernel("f4:3 f4:1 f4:1 f4 f8 f4:3 i8:1 i8:1")
def softmax_cross_entropy(z, label, weight, rejection, smoothing, dz, head, guard):
    """Add to head[LOSS, CORRECT, SAMPLES], exactly: -sum of q log softmax(z), the right answers, the samples.

    The target q is 1 at the label and 0 elsewhere, or with label smoothing (Szegedy et al. 2016, section 7) a mixture,
    in which all classes alike share the part `smoothing`.

    z and dz [1, classes, 16]: logits and gradient of the summed loss; label and weight [16]: class and 1, or 0 for
    an empty lane. An answer is right if the first of the largest logits is the label's. `guard` as in lanes.sums.
    rejection: the logit of one more class, which is nobody's (LeCun et al. 1998, equation 9), or -inf for none.
    The largest logit is taken off first, so that exp cannot overflow.
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
    right = where_equal(winner, labels, weights, zero)
    add_sums(head, (LOSS,), (losses, right, weights), 1, 3, 0, 0, guard)
