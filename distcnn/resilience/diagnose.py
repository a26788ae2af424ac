"""Which layer and which samples made a step diverge: the step is computed again, so that this costs nothing before."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import numpy as np

from distcnn.errors import DistcnnError, Diverged
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES
from distcnn.network.net import Net
from distcnn.network.plan import Block
from distcnn.numerics.fixed_point import RANGE_BITS
from distcnn.parallel.collective import mark_collective
from distcnn.parallel.comm import Comm
from distcnn.parallel.ulfm import rank_name

Allgather = Callable[[np.ndarray], np.ndarray]
Finding = tuple[int, str]


def explained(comm: Comm, step: int, finding: Finding | None) -> DistcnnError:
    """Return the Diverged that names the layer, the samples and the rank at which step `step` diverged. Collective.

    finding: what `diagnose` has returned on this rank.
    """
    found = [(*each, rank) for rank, each in enumerate(comm.allgather(finding)) if each]
    _, what, rank = min(found, key=operator.itemgetter(0), default=(0, "the sum over all ranks", 0))
    return mark_collective(
        Diverged(
            f"diverged at step {step}, whose update was not applied: {what}, on {rank_name(comm, rank)}; try a lower "
            f"--learning-rate"
        )
    )


def diagnose(
    net: Net, blocks: Sequence[Block], positions: int, epoch: int, allgather: Allgather | None = None
) -> Finding | None:
    """Return (place, words) on the first group of blocks that has a value beyond the range of exact sums, or None.

    The place is a number that grows along the forward pass and then the backward pass. The weights must be those of
    the step; the contents of `net.sums` are lost. Collective if there is an allgather.

    blocks: this rank's part of the batch.
    positions: how many blocks the batch has over all ranks.
    epoch: from 0.
    allgather: of batch norms over the whole batch, see `distcnn.training.sync_batchnorm`.
    """
    net.context.training = True
    for group in net.groups(blocks):
        net.start(positions, epoch)
        with ieee_mode():
            net.load(group)
            passes = _forward(net, group, allgather), _backward(net, group, allgather)
        found = next(filter(None, passes), None)
        if found:
            return found
    return None


def block_names(blocks: Sequence[Block], place: int) -> str:
    """Return the text that names blocks and their samples; place: the position in the batch of the first block."""
    places = ", ".join(str(place + k) for k in range(len(blocks)))
    return f"block{'s' * (len(blocks) > 1)} {places}, {sample_names(blocks)}"


def sample_names(blocks: Sequence[Block], lanes: np.ndarray | None = None) -> str:
    """Return words on the samples of some blocks, or on those in some lanes, bool [blocks, 16]."""
    chosen = np.array([block.weight > 0 for block in blocks])
    numbers = np.array([block.index for block in blocks])[chosen if lanes is None else lanes & chosen]
    return f"sample{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _forward(net, blocks, allgather):
    net.group.forward(allgather)
    for k in range(len(net.layers) if blocks else 0):
        values = np.array([plan.values[k + 1].inside for plan in net.group.plans])
        wild = ~(np.abs(values) < 2.0**RANGE_BITS)  # so that NaN counts, too
        lanes = wild.reshape(len(blocks), -1, LANES).any(1) & [block.weight > 0 for block in blocks]
        if lanes.any():
            finite = np.isfinite(values).all()
            what = f"values beyond 2**{RANGE_BITS}" if finite else "NaN or infinity"
            return k, f"{_name(net, k)} gives {what}, {sample_names(blocks, lanes)}"
    net.group.loss(net.label_smoothing)
    overflows = net.guard.overflows
    return (len(net.layers), f"the loss is out of range, {sample_names(blocks)}") if overflows else None


def _backward(net, blocks, allgather):
    overflowed = []
    net.group.backward(lambda k: overflowed.append(k) if net.guard.overflows else None, allgather)
    if not overflowed:
        return None
    k = overflowed[0]
    return 2 * len(net.layers) - k, f"a gradient of {_name(net, k)} is out of range, {sample_names(blocks)}"


def _name(net, k):
    return f"layer {k} ({type(net.layers[k]).__name__})"
