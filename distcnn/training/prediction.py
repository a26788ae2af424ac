"""Prediction of the classes of images; all ranks and their threads share the work."""

from __future__ import annotations

from typing import Any

import numpy as np

from distcnn.data.blocks import blocks_in_order
from distcnn.data.splits import Split
from distcnn.errors import Diverged
from distcnn.lanes import LANES
from distcnn.network.worker import Worker
from distcnn.parallel.collective import mark_collective, on_all
from distcnn.parallel.comm import Comm
from distcnn.parallel.partition import block_range
from distcnn.training.workers import WorkerPool


def predict(pool: WorkerPool, images: Any, comm: Comm) -> tuple[Any, Any]:
    """Return on rank 0 the classes, int32 [n], and probabilities, float32 [n, classes], of images [n, c, h, w].

    The class is the one with the largest output of the last layer, the first of several; the probabilities are the
    softmax of the outputs. Both have the same bits on any number of ranks. Other ranks get (None, None). Collective.

    Raises Diverged on every rank if a probability is NaN.
    """
    share = block_range(-(-len(images) // LANES), comm.rank, comm.size)
    first, last = (min(LANES * position, len(images)) for position in (share.start, share.stop))
    classes = np.empty(last - first, np.int32)
    probabilities = np.empty((last - first, pool.net.shapes[-1][0]), np.float32)
    split = Split(images, np.zeros(len(images), np.int8))  # without labels

    def work(k: int, worker: Worker) -> None:
        worker.start_evaluation(1)
        mine = block_range(len(share), k, pool.threads)
        for block in blocks_in_order(split, share[mine.start : mine.stop]):
            samples = block.sample[block.weight > 0]
            y, p = worker.predict_block(block)
            classes[samples - first] = np.argmax(y.samples(len(samples)), axis=1)
            probabilities[samples - first] = p.samples(len(samples))

    on_all(comm, pool.map, work)  # a file that is streamed may have become unreadable
    pieces = comm.gather((classes, probabilities))
    if not all(comm.allgather(bool(np.isfinite(probabilities).all()))):
        raise mark_collective(
            Diverged("the net outputs NaN for some images: the values of these images may be far too large")
        )
    if pieces is None:
        return None, None
    return np.concatenate([each[0] for each in pieces]), np.concatenate([each[1] for each in pieces])
