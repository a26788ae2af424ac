"""Which layer and which samples made a step diverge: looked up afterwards, so that it costs nothing before."""

import numpy as np

from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES
from distcnn.numerics.fixed_point import RANGE_BITS


def diagnose(net, blocks, positions, epoch, exchange=None):
    """Return words on the first group of these blocks that has a value beyond the range of exact sums, or None.

    Before the words stands a number: how far on the way forward and back that is. The weights must be those of the
    step; what is in `net.sums` is lost. exchange: see Group; with it, all ranks call this together.
    """
    net.context.training = True
    for group in net.groups(blocks):
        net.start(positions, epoch)
        with ieee_mode():
            net.load(group)
            ways = _forward(net, group, exchange), _backward(net, group, exchange)
        found = next(filter(None, ways), None)
        if found:
            return found
    return None


def note_blocks(error, blocks, place):
    """Let an exception tell over which blocks it happened; place: that of the first of them in the batch."""
    places = ", ".join(str(place + k) for k in range(len(blocks)))
    error.in_hand = f"block{'s' * (len(blocks) > 1)} {places}, {samples(blocks)}" if blocks else None


def samples(blocks, lanes=None):
    """Return words on the samples of some blocks, or on those in some lanes, bool [blocks, 16]."""
    chosen = np.array([block.weight > 0 for block in blocks])
    numbers = np.array([block.index for block in blocks])[chosen if lanes is None else lanes & chosen]
    return f"sample{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _forward(net, blocks, exchange):
    net.group.forward(exchange)
    for k in range(len(net.layers) if blocks else 0):
        values = np.array([plan.values[k + 1].inside for plan in net.group.plans])
        wild = ~(np.abs(values) < 2.0**RANGE_BITS)  # so that NaN counts, too
        lanes = wild.reshape(len(blocks), -1, LANES).any(1) & [block.weight > 0 for block in blocks]
        if lanes.any():
            finite = np.isfinite(values).all()
            what = f"values beyond 2**{RANGE_BITS}" if finite else "NaN or infinity"
            return k, f"{_name(net, k)} gives {what}, {samples(blocks, lanes)}"
    net.group.loss(net.label_smoothing)
    return (len(net.layers), f"the loss is out of range, {samples(blocks)}") if net.guard.overflows else None


def _backward(net, blocks, exchange):
    refused = []
    net.group.backward(lambda k: refused.append(k) if net.guard.overflows else None, exchange)
    if not refused:
        return None
    words = f"a gradient of {_name(net, refused[0])} is out of range, {samples(blocks)}"
    return 2 * len(net.layers) - refused[0], words


def _name(net, k):
    return f"layer {k} ({type(net.layers[k]).__name__})"
