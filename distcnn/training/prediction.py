"""The classes that a net predicts for images: all ranks and their threads share the work."""

from __future__ import annotations

from typing import Any

import numpy as np

from distcnn.errors import Diverged
from distcnn.lanes import LANES
from distcnn.network.plan import Block
from distcnn.parallel.collective import mark_collective
from distcnn.parallel.comm import Comm
from distcnn.parallel.partition import block_range
from distcnn.training.workers import WorkerPool


def predict(pool: WorkerPool, images: np.ndarray, comm: Comm) -> tuple[Any, Any]:
    """Return on rank 0 the classes, int32 [n], and probabilities, float32 [n, classes], of images [n, c, h, w].

    A class is the first of the largest outputs of the last layer, a probability its softmax: the same bits on any
    number of ranks. On other ranks both are None. Raises Diverged on every rank if a probability is not a number.
    """
    share = block_range(-(-len(images) // LANES), comm.rank, comm.size)
    first, last = (min(LANES * position, len(images)) for position in (share.start, share.stop))
    classes = np.empty(last - first, np.int32)
    probabilities = np.empty((last - first, pool.net.shapes[-1][0]), np.float32)
    no_labels = np.zeros(len(images), np.int8)

    def work(k, worker):
        worker.start_evaluation(1)
        for i in block_range(len(share), k, pool.threads):
            samples = np.arange(LANES * share[i], min(LANES * share[i] + LANES, last))
            y, p = worker.predict_block(Block.of(images, no_labels, samples))
            classes[samples - first] = np.argmax(y.samples(len(samples)), axis=1)
            probabilities[samples - first] = p.samples(len(samples))

    pool.map(work)
    pieces = comm.gather((classes, probabilities))
    if not all(comm.allgather(bool(np.isfinite(probabilities).all()))):
        raise mark_collective(
            Diverged("the net gives NaN for some images: their values may be out of all proportion")
        )
    if pieces is None:
        return None, None
    return np.concatenate([each[0] for each in pieces]), np.concatenate([each[1] for each in pieces])
