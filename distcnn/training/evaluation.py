"""Loss and accuracy over a part of a dataset: the work shared by all ranks, the sums exact."""

import numpy as np

from distcnn.errors import Diverged
from distcnn.lanes import LANES
from distcnn.network.plan import Block
from distcnn.numerics.fixed_point import CORRECT, HEAD, LOSS, OVERFLOWS, QUANTUM, SAMPLES, SUM_BITS
from distcnn.parallel.collective import mark_collective
from distcnn.parallel.partition import block_range
from distcnn.parallel.watch import EVALUATING, WAITING

ROUND = 4096  # blocks whose exact sums are taken together: their range then bounds no part's size


def evaluate(pool, part, comm, where="the evaluation", watch=None):
    """Return the sums over a part: loss in quanta, right answers, samples; the same on every rank.

    `watch` is told what this rank does.

    Raises Diverged, naming `where`, on every rank if a loss is NaN or out of range.
    """
    positions = -(-len(part.labels) // LANES)
    share = block_range(positions, comm.rank, comm.size)
    sums = np.zeros(HEAD, object)  # whole numbers without a limit
    for first in range(0, len(share), ROUND):
        some = share[first : first + ROUND]

        def work(k, worker, some=some):
            worker.start_evaluation(min(positions, ROUND))
            for i in block_range(len(some), k, pool.threads):
                if watch:
                    watch.note(EVALUATING)
                worker.evaluate_block(_block(part, some[i]))

        pool.map(work)
        for worker in pool.workers:
            sums += worker.sums[:HEAD]
    if watch:
        watch.note(WAITING)
    return totals(sum(np.array(each, object) for each in comm.allgather(sums.tolist())), where)


def _block(part, position):
    """Return the block at a position of a part in the order of the file."""
    start = LANES * position
    return Block.of(part.images, part.labels, np.arange(start, min(start + LANES, len(part.labels))))


def totals(sums, where):
    """Return loss (in quanta), right answers and samples from the head of exact sums.

    Raises Diverged, marked as known to all ranks, if any value was refused.
    """
    if sums[OVERFLOWS]:
        raise mark_collective(Diverged(f"diverged at {where}: a loss or gradient is NaN or beyond 2**27"))
    return int(sums[LOSS]), int(sums[CORRECT]) >> SUM_BITS, int(sums[SAMPLES]) >> SUM_BITS


def means(sums):
    """Return mean loss and accuracy from what `totals` gives, or from sums of it."""
    loss, correct, samples = sums
    return loss * QUANTUM / max(samples, 1), correct / max(samples, 1)
