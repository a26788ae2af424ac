"""Prediction for images; all ranks and their threads share the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.data.blocks import blocks_in_order
from distcnn.data.splits import Split
from distcnn.errors import Diverged
from distcnn.lanes import LANES
from distcnn.network.worker import Worker
from distcnn.parallel.collective import mark_collective, on_all
from distcnn.parallel.comm import Comm
from distcnn.parallel.partition import block_range
from distcnn.training.workers import WorkerPool

Answers = Callable[[np.ndarray], np.ndarray]  # what the outputs of some samples, [n, outputs], say

ANSWERS: dict[str, Answers] = {  # by task
    CLASSIFY: lambda outputs: np.argmax(outputs, axis=1).astype(np.int32),
    MULTILABEL: lambda outputs: (outputs > 0).astype(np.uint8),
    REGRESS: lambda outputs: outputs,
}


def predict(pool: WorkerPool, images: Any, comm: Comm) -> tuple[Any, Any]:
    """Return on rank 0 the predictions for images [n, c, h, w], and their probabilities; (None, None) on other ranks.

    Both have the same bits on any number of ranks. Collective. By the task of the net they are:

    classify: classes, int32 [n], those with the largest outputs of the last layer, the first of several; the
        probabilities, float32 [n, classes], are the softmax of the outputs.
    multilabel: 1 for each label whose probability is above 0.5, else 0, uint8 [n, labels]; the probabilities, float32
        [n, labels], are the sigmoid of the outputs.
    regress: numbers in the units of the targets, float32 [n, targets]; no probabilities, None.

    Raises Diverged on every rank if an output is NaN.
    """
    share = block_range(-(-len(images) // LANES), comm.rank, comm.size)
    first, last = (min(LANES * position, len(images)) for position in (share.start, share.stop))
    net, answers = pool.net, ANSWERS[pool.net.task.name]
    (width,), mine = net.shapes[-1], last - first
    none = answers(np.zeros((mine, width), np.float32))
    found, probabilities = np.empty_like(none), np.empty((mine, width), np.float32)
    split = Split(images, np.zeros(len(images), np.int8))  # without labels

    def work(k: int, worker: Worker) -> None:
        worker.start_evaluation(1)
        mine = block_range(len(share), k, pool.threads)
        for block in blocks_in_order(split, share[mine.start : mine.stop]):
            samples = block.sample[block.weight > 0]
            y, p = worker.predict_block(block)
            outputs = net.targets.predictions(y.samples(len(samples)))
            found[samples - first] = answers(outputs)
            probabilities[samples - first] = outputs if p is None else p.samples(len(samples))

    on_all(comm, pool.map, work)  # a file that is streamed may have become unreadable
    pieces = comm.gather((found, probabilities))
    if not all(comm.allgather(bool(np.isfinite(probabilities).all()))):
        raise mark_collective(
            Diverged("the net outputs NaN for some images: the values of these images may be far too large")
        )
    if pieces is None:
        return None, None
    predicted = np.concatenate([each[0] for each in pieces])
    return predicted, np.concatenate([each[1] for each in pieces]) if net.task.probabilities else None
