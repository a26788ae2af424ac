"""Loss, accuracy and other metrics over a split of a dataset: all ranks share the work, and all sums are exact."""

from __future__ import annotations

import numpy as np

from distcnn.data.dataset import Split
from distcnn.errors import Diverged
from distcnn.lanes import LANES
from distcnn.network.plan import Block
from distcnn.numerics.fixed_point import HEAD, Counters, Totals
from distcnn.parallel.collective import mark_collective
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import EVALUATING, WAITING, Heartbeat
from distcnn.parallel.partition import block_range
from distcnn.training.metrics import METRICS
from distcnn.training.workers import WorkerPool

ROUND = 4096  # blocks whose exact sums are taken together, so that their range does not limit a split's size


def evaluate(
    pool: WorkerPool,
    split: Split,
    comm: Comm,
    where: str = "the evaluation",
    heartbeat: Heartbeat | None = None,
) -> dict[str, float]:
    """Return the mean loss, the accuracy and all `METRICS` over a split, by name: the same on every rank. Collective.

    where: how a message names this evaluation.
    heartbeat: of this rank.

    Raises Diverged on every rank if a loss is NaN or out of range.
    """
    positions = -(-len(split.labels) // LANES)
    share = block_range(positions, comm.rank, comm.size)
    sums = np.zeros(HEAD + len(METRICS), object)  # whole numbers without a limit
    for first in range(0, len(share), ROUND):
        sums += _round(pool, split, share[first : first + ROUND], min(positions, ROUND), heartbeat)
    if heartbeat:
        heartbeat.beat(WAITING)
    sums = np.sum([np.array(each, object) for each in comm.allgather(sums.tolist())], axis=0)
    totals = checked_totals(Counters(sums), where)
    counts = zip(METRICS, sums[HEAD:], strict=True)
    more = {name: count / max(totals.samples, 1) for name, count in counts}
    return {"loss": totals.mean_loss, "accuracy": totals.accuracy} | more


def _round(pool, split, positions, most, heartbeat):
    """Return the counters and the metrics' counts over some positions of a split; at most `most` over all ranks."""
    counts = np.zeros((pool.threads, len(METRICS)), object)

    def work(k, worker):
        worker.start_evaluation(most)
        for i in block_range(len(positions), k, pool.threads):
            if heartbeat:
                heartbeat.beat(EVALUATING)
            block, labels = _block(split, positions[i])
            worker.evaluate_block(block)
            if METRICS:
                logits = worker.inference.y.samples(len(labels))
                counts[k] += [int(count(logits, labels)) for count in METRICS.values()]

    pool.map(work)
    counters = sum(worker.sums[:HEAD].astype(object) for worker in pool.workers)
    return np.concatenate([counters, counts.sum(axis=0)])


def _block(split, position):
    """Return the block at a position of a split in the order of the file, and the labels of its samples."""
    start = LANES * position
    numbers = np.arange(start, min(start + LANES, len(split.labels)))
    return Block.of(split.images, split.labels, numbers), split.labels[numbers]


def checked_totals(counters: Counters, where: str) -> Totals:
    """Return the totals of counters. Raises Diverged on every rank, naming `where`, if any value overflowed."""
    if counters.overflows:
        raise mark_collective(Diverged(f"diverged at {where}: a loss or gradient is NaN or beyond 2**27"))
    return counters.totals
