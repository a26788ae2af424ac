"""Diagnosis of a step that has diverged: computes it again, to find the layer and the samples that caused it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import numpy as np

from distcnn.errors import LOWER_RATE, DistcnnError, Diverged
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES
from distcnn.network.net import Net
from distcnn.network.plan import Block
from distcnn.numerics.fixed_point import RANGE_BITS
from distcnn.parallel.collective import mark_collective
from distcnn.parallel.comm import Comm
from distcnn.parallel.ulfm import rank_name
from distcnn.system.counts import plural

Allgather = Callable[[np.ndarray], np.ndarray]
Finding = tuple[int, str]


def explained(comm: Comm, step: int, finding: Finding | None) -> DistcnnError:
    """Return an exception that names the layer, the samples and the rank at which a step diverged. Collective.

    step: the number of the step, from 1.
    finding: the result of `diagnose` on this rank.
    """
    found = [(*each, rank) for rank, each in enumerate(comm.allgather(finding)) if each]
    _, what, rank = min(found, key=operator.itemgetter(0), default=(0, "the sum over all ranks", 0))
    where = f"diverged at step {step}, whose update was not applied"
    message = f"{where}: {what}, on {rank_name(comm, rank)}; {LOWER_RATE}"
    return mark_collective(Diverged(message))


def diagnose(
    net: Net, blocks: Sequence[Block], positions: int, epoch: int, allgather: Allgather | None = None
) -> Finding | None:
    """Return (place, description) of the first value beyond the range of exact sums, or None if there is none.

    The place is a number that increases along the forward pass and then the backward pass. The description names the
    layer and the samples. The weights must be those of the step; `net.sums` are overwritten. Collective if there is an
    allgather.

    net: the net, as one worker.
    blocks: this rank's part of the batch.
    positions: the number of blocks that the batch has over all ranks.
    epoch: from 0.
    allgather: for batch norms over the whole batch, see `distcnn.training.sync_batchnorm`; otherwise None.
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


def block_names(blocks: Sequence[Block], position: int) -> str:
    """Return the names of blocks and of their samples; position: that of the first block in the batch."""
    positions = ", ".join(str(position + k) for k in range(len(blocks)))
    return f"{plural(len(blocks), 'block')} {positions}, {sample_names(blocks)}"


def sample_names(blocks: Sequence[Block], lanes: np.ndarray | None = None) -> str:
    """Return the names of the samples of some blocks; lanes: bool [blocks, 16], the samples to name, None for all."""
    chosen = np.array([block.weight > 0 for block in blocks])
    numbers = np.array([block.sample for block in blocks])[chosen if lanes is None else lanes & chosen]
    return f"{plural(len(numbers), 'sample')} {', '.join(map(str, numbers))}"


def _forward(net: Net, blocks: Sequence[Block], allgather: Allgather | None) -> Finding | None:
    """Compute a group's forward pass; return where it first exceeds the range, or None."""
    net.group.forward(allgather)
    for k in range(len(net.layers) if blocks else 0):
        values = np.array([plan.values[k + 1].inside for plan in net.group.plans])
        outside = ~(np.abs(values) < 2.0**RANGE_BITS)  # so that NaN counts, too
        lanes = outside.reshape(len(blocks), -1, LANES).any(1) & [block.weight > 0 for block in blocks]
        if lanes.any():
            finite = np.isfinite(values).all()
            what = f"values beyond 2**{RANGE_BITS}" if finite else "NaN or infinity"
            return k, f"{_name(net, k)} gives {what}, {sample_names(blocks, lanes)}"
    net.loss()
    overflows = net.guard.overflows
    return (len(net.layers), f"the loss is out of range, {sample_names(blocks)}") if overflows else None


def _backward(net: Net, blocks: Sequence[Block], allgather: Allgather | None) -> Finding | None:
    """Compute a group's backward pass; return where it first exceeds the range, or None."""
    overflowed: list[int] = []

    def layer_done(k: int) -> None:
        if net.guard.overflows:
            overflowed.append(k)

    net.group.backward(layer_done, allgather)
    if not overflowed:
        return None
    k = overflowed[0]
    return 2 * len(net.layers) - k, f"a gradient of {_name(net, k)} is out of range, {sample_names(blocks)}"


def _name(net: Net, k: int) -> str:
    """Return the name of layer k in messages."""
    return f"layer {k} ({type(net.layers[k]).__name__})"
