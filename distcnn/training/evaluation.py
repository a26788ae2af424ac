"""Loss, accuracy and other metrics over a split of a dataset: all ranks share the work, and all sums are exact."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

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
from distcnn.training.metrics import METRICS, Collector
from distcnn.training.workers import WorkerPool

ROUND = 4096  # blocks of one exact sum; a split of more blocks has several sums, so that their range does not limit it

Take = Callable[..., None]


def evaluate(
    pool: WorkerPool,
    split: Split,
    comm: Comm,
    when: str = "",
    heartbeat: Heartbeat | None = None,
    collector: Collector | None = None,
) -> dict[str, float]:
    """Return the mean loss, the accuracy and all `METRICS` over a split, by name: the same on every rank. Collective.

    pool: the workers of this rank; their weights are evaluated.
    when: a phrase for error messages, if this is an evaluation of a net in training: "after step 7".
    heartbeat: of this rank.
    collector: collects what a report needs, from all samples; None: there is no report.

    Raises Diverged on every rank if a loss is NaN or out of range.
    """
    positions = -(-len(split.labels) // LANES)
    share = block_range(positions, comm.rank, comm.size)
    take = _in_turns(collector) if collector else None

    def local_sums() -> np.ndarray:
        """Return the sums over this rank's blocks."""
        rounds = [share[first : first + ROUND] for first in range(0, len(share), ROUND)]
        sums = [_round(pool, split, some, min(positions, ROUND), heartbeat, take) for some in rounds]
        if heartbeat:
            heartbeat.beat(WAITING)
        return np.sum([_no_sums(), *sums], axis=0)

    sums = on_all(comm, local_sums)  # a file that is streamed may have become unreadable
    if collector:
        collector.merge(comm)
    sums = np.sum([np.array(each, object) for each in comm.allgather(sums.tolist())], axis=0)
    totals = checked_totals(Counters(sums), when)
    counts = zip(METRICS, sums[HEAD:], strict=True)
    more = {name: count / max(totals.samples, 1) for name, count in counts}
    return {"loss": totals.mean_loss, "accuracy": totals.accuracy} | more


def _no_sums() -> np.ndarray:
    """Return zeros for the counters and the counts of the metrics: whole numbers without a limit."""
    return np.zeros(HEAD + len(METRICS), object)


def _round(
    pool: WorkerPool,
    split: Split,
    positions: range,
    most: int,
    heartbeat: Heartbeat | None,
    take: Take | None,
) -> np.ndarray:
    """Return the counters, then the counts of the metrics, over blocks of a split on this rank.

    positions: of the blocks.
    most: an upper limit of the number of blocks over all ranks.
    take: called with what the collector adds, of each block; None: there is no collector.
    """
    counts = np.zeros((pool.threads, len(METRICS)), object)

    def work(k: int, worker: Worker) -> None:
        worker.start_evaluation(most)
        mine = block_range(len(positions), k, pool.threads)
        for block in blocks_in_order(split, positions[mine.start : mine.stop]):
            if heartbeat:
                heartbeat.beat(EVALUATING)
            worker.evaluate_block(block)
            if METRICS or take:
                labels = block.label[block.weight > 0]
                logits = worker.inference.y.samples(len(labels))
                counts[k] += [int(count(logits, labels)) for count in METRICS.values()]
                if take and not worker.counters.overflows:  # which end the evaluation, as values are NaN
                    probabilities = worker.probabilities().samples(len(labels))
                    take(logits, probabilities, labels, block.sample[block.weight > 0])

    pool.map(work)
    counters = sum(worker.sums[:HEAD].astype(object) for worker in pool.workers)
    return np.concatenate([counters, counts.sum(axis=0)])


def _in_turns(collector: Collector) -> Take:
    """Return the method `add` of a collector, which one thread calls at a time."""
    lock = Lock()

    def add(*found: np.ndarray) -> None:
        with lock:
            collector.add(*found)

    return add


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
