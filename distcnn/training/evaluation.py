"""Loss, accuracy and other metrics over a split of a dataset: all ranks share the work, and all sums are exact."""

from __future__ import annotations

import numpy as np

from distcnn.data.blocks import blocks_in_order
from distcnn.data.splits import Split
from distcnn.errors import LOWER_RATE, Diverged
from distcnn.lanes import LANES
from distcnn.network.worker import Worker
from distcnn.numerics.fixed_point import HEAD, Counters, Totals
from distcnn.parallel.collective import mark_collective, on_all
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import EVALUATING, WAITING, Heartbeat
from distcnn.parallel.partition import block_range
from distcnn.training.metrics import METRICS_OF
from distcnn.training.workers import WorkerPool

ROUND = 4096  # blocks of one exact sum; a split of more blocks has several sums, so that their range does not limit it


def evaluate(
    pool: WorkerPool,
    split: Split,
    comm: Comm,
    when: str = "",
    heartbeat: Heartbeat | None = None,
    right: np.ndarray | None = None,
) -> dict[str, float]:
    """Return the mean loss, the accuracy and all metrics over a split, by name: the same on every rank. Collective.

    A task without right and wrong answers has no accuracy.

    pool: the workers of this rank; their weights are evaluated.
    when: a phrase for error messages, if this is an evaluation of a net in training: "after step 7".
    heartbeat: of this rank.
    right: int64 [classes], zeros, to which the right answers of each class are added; None: they are not counted.

    Raises Diverged on every rank if a loss is NaN or out of range.
    """
    task, metrics = pool.net.task, METRICS_OF[pool.net.task.name]
    positions = -(-len(split.labels) // LANES)
    share = block_range(positions, comm.rank, comm.size)

    def local_sums() -> np.ndarray:
        """Return the sums over this rank's blocks."""
        rounds = [share[first : first + ROUND] for first in range(0, len(share), ROUND)]
        sums = [_round(pool, split, some, min(positions, ROUND), heartbeat, right) for some in rounds]
        if heartbeat:
            heartbeat.beat(WAITING)
        return np.sum([np.zeros(HEAD + len(metrics), object), *sums], axis=0)  # whole numbers without a limit

    sums = on_all(comm, local_sums)  # a file that is streamed may have become unreadable
    if right is not None:
        right[:] = np.sum(comm.allgather(right), axis=0)
    sums = np.sum([np.array(each, object) for each in comm.allgather(sums.tolist())], axis=0)
    totals = checked_totals(Counters(sums), when)
    counts = zip(metrics, sums[HEAD:], strict=True)
    more = {name: count / max(totals.samples, 1) for name, count in counts}
    return {"loss": totals.mean_loss} | ({"accuracy": totals.accuracy} if task.has_accuracy else {}) | more


def _round(
    pool: WorkerPool,
    split: Split,
    positions: range,
    most: int,
    heartbeat: Heartbeat | None,
    right: np.ndarray | None,
) -> np.ndarray:
    """Return the counters, then the counts of the metrics, over blocks of a split on this rank.

    positions: of the blocks.
    most: an upper limit of the number of blocks over all ranks.
    right: to which this rank's right answers of each class are added; None: they are not counted.
    """
    metrics = METRICS_OF[pool.net.task.name]
    counts = np.zeros((pool.threads, len(metrics)), object)
    rights = np.zeros((pool.threads, 0 if right is None else len(right)), np.int64)

    def work(k: int, worker: Worker) -> None:
        worker.start_evaluation(most)
        mine = block_range(len(positions), k, pool.threads)
        for block in blocks_in_order(split, positions[mine.start : mine.stop]):
            if heartbeat:
                heartbeat.beat(EVALUATING)
            worker.evaluate_block(block)
            if metrics or right is not None:
                labels = block.label[block.weight > 0]
                outputs = pool.net.targets.predictions(worker.inference.y.samples(len(labels)))
                counts[k] += [int(count(outputs, labels)) for count in metrics.values()]
                if right is not None:
                    rights[k] += right_by_class(outputs, labels, len(right))

    pool.map(work)
    if right is not None:
        right += rights.sum(axis=0)
    counters = sum(worker.sums[:HEAD].astype(object) for worker in pool.workers)
    return np.concatenate([counters, counts.sum(axis=0)])


def right_by_class(logits: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return how many samples of each class are right, int64 [classes]: the largest logit, the first of several.

    logits: float32 [n, classes].
    labels: int [n].
    """
    return np.bincount(labels[np.argmax(logits, axis=1) == labels], minlength=classes)


def checked_totals(counters: Counters, when: str) -> Totals:
    """Return the totals of the counters; raise Diverged on every rank if a value has overflowed; when: as above."""
    if counters.overflows:
        where, remedy = (
            "the evaluation",
            "the checkpoint has diverged, or the images have far too large values",
        )
        if when:
            where, remedy = f"{where} {when}", LOWER_RATE
        raise mark_collective(Diverged(f"diverged at {where}: a loss is NaN or beyond 2**27; {remedy}"))
    return counters.totals
