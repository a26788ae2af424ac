"""Which layer and which samples made a step diverge: looked up afterwards, so that it costs nothing before."""

import numpy as np

from distcnn.exact import RANGE_BITS
from distcnn.kernels.compile import ieee_mode
from distcnn.layers.base import TRAINING


def blame(net, blocks, positions, epoch):
    """Return words on the first of these blocks that has a value beyond the range of exact sums, or None.

    The weights must be those of the step; what is in `net.sums` is lost.
    """
    net.moment.settings[TRAINING] = True
    for block in blocks:
        net.start(positions, epoch)
        with ieee_mode():
            net.load(block)
            found = _forward(net, block) or _backward(net, block)
        if found:
            return found
    return None


def samples(block, lanes=None):
    """Return words on the samples in some lanes of a block, or in all."""
    chosen = block.weight > 0 if lanes is None else lanes & (block.weight > 0)
    numbers = [str(number) for number in block.index[chosen]]
    return f"sample{'s' * (len(numbers) > 1)} {', '.join(numbers)}"


def _forward(net, block):
    net.plan.forward()
    for k, value in enumerate(net.plan.values[1:]):
        wild = ~(np.abs(value.inside) < 2.0**RANGE_BITS)  # so that NaN counts, too
        lanes = wild.reshape(-1, wild.shape[-1]).any(0) & (block.weight > 0)
        if lanes.any():
            finite = np.isfinite(value.inside).all()
            what = f"values beyond 2**{RANGE_BITS}" if finite else "NaN or infinity"
            return f"{_name(net, k)} gives {what}, {samples(block, lanes)}"
    net.plan.loss(net.label_smoothing)
    return f"the loss is out of range, {samples(block)}" if net.guard[1] else None


def _backward(net, block):
    refused = []
    net.plan.backward(lambda k: refused.append(k) if net.guard[1] else None)
    return f"a gradient of {_name(net, refused[0])} is out of range, {samples(block)}" if refused else None


def _name(net, k):
    return f"layer {k} ({type(net.layers[k]).__name__})"
