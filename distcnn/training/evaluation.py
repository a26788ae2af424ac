"""Loss, accuracy and other metrics over a split of a dataset: all ranks share the work, and all sums are exact."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np

from distcnn.data.blocks import blocks_in_order
from distcnn.data.splits import Split
from distcnn.errors import LOWER_RATE, Diverged
from distcnn.lanes import LANES
from distcnn.network.net import Net
from distcnn.network.plan import Block
from distcnn.network.worker import Worker
from distcnn.numerics.fixed_point import HEAD, Counters, Totals
from distcnn.parallel.collective import mark_collective, on_all
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import EVALUATING, WAITING, Heartbeat
from distcnn.parallel.partition import block_range
from distcnn.reports.subject import Subject
from distcnn.training.metrics import COLLECTORS, Collector, metrics_of
from distcnn.training.workers import WorkerPool

ROUND = 4096  # blocks of one exact sum; a split of more blocks has several sums, so that their range does not limit it

Take = Callable[[Worker, Block], None]


def evaluate(
    pool: WorkerPool,
    split: Split,
    comm: Comm,
    when: str = "",
    heartbeat: Heartbeat | None = None,
    collector: Collector | None = None,
) -> dict[str, float | None]:
    """Return the mean loss, the accuracy and all metrics over a split, by name: the same on every rank. Collective.

    A task without right and wrong answers has no accuracy.

    pool: the workers of this rank; their weights are evaluated.
    when: a phrase for error messages, if this is an evaluation of a net in training: "after step 7".
    heartbeat: of this rank.
    collector: collects what a report needs; None: there is no report.

    Raises Diverged on every rank if a loss is NaN or out of range.
    """
    collector = collector or _collector(pool.net, len(split.labels))
    take, metrics = _taking(collector), metrics_of(pool.net.task, *pool.net.shapes[-1])
    positions = -(-len(split.labels) // LANES)
    share = block_range(positions, comm.rank, comm.size)

    def local_sums() -> np.ndarray:
        """Return the sums over this rank's blocks."""
        rounds = [share[first : first + ROUND] for first in range(0, len(share), ROUND)]
        sums = [_round(pool, split, some, min(positions, ROUND), heartbeat, take) for some in rounds]
        if heartbeat:
            heartbeat.beat(WAITING)
        return np.sum([np.zeros(HEAD + len(metrics), object), *sums], axis=0)  # whole numbers without a limit

    sums = on_all(comm, local_sums)  # a file that is streamed may have become unreadable
    sums = np.sum([np.array(each, object) for each in comm.allgather(sums.tolist())], axis=0)
    totals = checked_totals(Counters(sums), when)
    counts = zip(metrics, sums[HEAD:], strict=True)
    found: dict[str, float | None] = {"loss": totals.mean_loss}
    found |= {"accuracy": totals.accuracy} if pool.net.task.has_accuracy else {}
    found |= {name: count / max(totals.samples, 1) for name, count in counts}
    if collector:
        collector.merge(comm)
        found |= collector.numbers
    return found


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
    take: called after each block, with the worker that has evaluated it; None for no calls.
    """
    net = pool.net
    metrics = metrics_of(net.task, *net.shapes[-1])
    counts = np.zeros((pool.threads, len(metrics)), object)

    def work(k: int, worker: Worker) -> None:
        worker.start_evaluation(most)
        mine = block_range(len(positions), k, pool.threads)
        for block in blocks_in_order(split, positions[mine.start : mine.stop]):
            if heartbeat:
                heartbeat.beat(EVALUATING)
            worker.evaluate_block(block)
            if metrics:
                labels = block.label[block.weight > 0]
                outputs = net.targets.predictions(worker.inference.y.samples(len(labels)))
                counts[k] += [int(count(outputs, labels)) for count in metrics.values()]
            if take and not worker.counters.overflows:  # which end the evaluation, as values are NaN
                take(worker, block)

    pool.map(work)
    counters = sum(worker.sums[:HEAD].astype(object) for worker in pool.workers)
    return np.concatenate([counters, counts.sum(axis=0)])


def _collector(net: Net, samples: int) -> Collector | None:
    """Return what collects the metrics of a net that are no means of counts, or None if there are none."""
    make = COLLECTORS.get(net.task.name)
    (outputs,) = net.shapes[-1]
    return make(Subject([*map(str, range(outputs))], samples, net.targets.array)) if make else None


def _taking(collector: Collector | None) -> Take | None:
    """Return a function that adds a block to a collector, in one thread at a time; None without a collector."""
    if collector is None:
        return None
    lock, add = Lock(), collector.add

    def take(worker: Worker, block: Block) -> None:
        samples = block.sample[block.weight > 0]
        probabilities = worker.probabilities()
        found = probabilities.samples(len(samples)) if probabilities else None
        outputs = worker.shared.targets.predictions(worker.inference.y.samples(len(samples)))
        with lock:
            add(outputs, found, block.label[block.weight > 0], samples)

    return take


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
