"""Which layer and which samples made a step diverge: looked up afterwards, so that it costs nothing before."""

import numpy as np

from distcnn.exact import RANGE_BITS
from distcnn.kernels.compile import ieee_mode
from distcnn.lanes import LANES
from distcnn.layers.base import TRAINING


def blame(net, blocks, positions, epoch):
    """Return words on the first group of these blocks that has a value beyond the range of exact sums, or None.

    The weights must be those of the step; what is in `net.sums` is lost.
    """
    net.moment.settings[TRAINING] = True
    for group in net.groups(blocks):
        net.start(positions, epoch)
        with ieee_mode():
            net.load(group)
            found = _forward(net, group) or _backward(net, group)
        if found:
            return found
    return None


def samples(blocks, lanes=None):
    """Return words on the samples of some blocks, or on those in some lanes, bool [blocks, 16]."""
    chosen = np.array([block.weight > 0 for block in blocks])
    numbers = np.array([block.index for block in blocks])[chosen if lanes is None else lanes & chosen]
    return f"sample{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _forward(net, blocks):
    net.group.forward()
    for k in range(len(net.layers)):
        values = np.array([plan.values[k + 1].inside for plan in net.group.plans])
        wild = ~(np.abs(values) < 2.0**RANGE_BITS)  # so that NaN counts, too
        lanes = wild.reshape(len(blocks), -1, LANES).any(1) & [block.weight > 0 for block in blocks]
        if lanes.any():
            finite = np.isfinite(values).all()
            what = f"values beyond 2**{RANGE_BITS}" if finite else "NaN or infinity"
            return f"{_name(net, k)} gives {what}, {samples(blocks, lanes)}"
    net.group.loss(net.label_smoothing)
    return f"the loss is out of range, {samples(blocks)}" if net.guard[1] else None


def _backward(net, blocks):
    refused = []
    net.group.backward(lambda k: refused.append(k) if net.guard[1] else None)
    return f"a gradient of {_name(net, refused[0])} is out of range, {samples(blocks)}" if refused else None


def _name(net, k):
    return f"layer {k} ({type(net.layers[k]).__name__})"
