"""Loss and accuracy over a part of a dataset: the work shared by all ranks, the sums exact."""

import numpy as np

from distcnn.data.batches import blocks
from distcnn.errors import Diverged
from distcnn.exact import CORRECT, HEAD, LOSS, OVERFLOWS, QUANTUM, SAMPLES, SUM_BITS
from distcnn.lanes import LANES
from distcnn.parallel.agreement import agreed
from distcnn.parallel.blocks import owned
from distcnn.parallel.watch import EVALUATING, WAITING


def evaluate(net, part, comm, where="the evaluation", watch=None):
    """Return the sums over a part: loss in quanta, right answers, samples; the same on every rank.

    `watch` is told what this rank does.

    Raises Diverged, naming `where`, on every rank if a loss is NaN or out of range.
    """
    positions = -(-len(part.labels) // LANES)
    net.start(positions)
    for block in blocks(part, np.arange(len(part.labels)), owned(positions, comm.rank, comm.size)):
        if watch:
            watch.note(EVALUATING)
        net.evaluate_block(block)
    if watch:
        watch.note(WAITING)
    comm.Allreduce(None, net.sums[:HEAD])
    return totals(net.sums, where)


def totals(sums, where):
    """Return loss (in quanta), right answers and samples from the head of exact sums.

    Raises Diverged, marked as known to all ranks, if any value was refused.
    """
    if sums[OVERFLOWS]:
        raise agreed(Diverged(f"diverged at {where}: a loss or gradient is NaN or beyond 2**27"))
    return int(sums[LOSS]), int(sums[CORRECT]) >> SUM_BITS, int(sums[SAMPLES]) >> SUM_BITS


def means(sums):
    """Return mean loss and accuracy from what `totals` gives, or from sums of it."""
    loss, correct, samples = sums
    return loss * QUANTUM / max(samples, 1), correct / max(samples, 1)
