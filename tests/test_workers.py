"""Threads within a rank: the same bits for any number of them, and no failure is lost."""

import threading

import numpy as np
import pytest

from distcnn import Net
from distcnn.data.dataset import Split
from distcnn.network.plan import Block
from distcnn.numerics import NUMERICS
from distcnn.parallel.serial import SerialComm
from distcnn.training.evaluation import evaluate
from distcnn.training.workers import StepHooks, WorkerPool
from tests.helpers.arrays import normal
from tests.helpers.digests import GOLDEN, STEPS, digest, train_here
from tests.helpers.nets import OTHERS

IMAGES, LABELS = normal(75, 2, 8, 8), np.arange(75, dtype=np.int32) % 3
BLOCKS = [Block.of(IMAGES, LABELS, np.arange(k, min(k + 16, 75))) for k in range(0, 75, 16)]


def pool_of(threads, norm_group=1):
    """Return the workers of a net with every kind of layer."""
    pool = WorkerPool(Net(OTHERS, (2, 8, 8), seed=2, norm_group=norm_group), threads)
    pool.compile()
    return pool


def sums(threads, norm_group=1):
    """Return the exact sums of a batch of five blocks, and what its evaluation gives."""
    pool = pool_of(threads, norm_group)
    for _ in range(2):  # sums start anew, for all workers
        pool.net.sums[:] = 0
        pool.train(BLOCKS, len(BLOCKS), 3)
    return pool.net.sums.copy(), evaluate(pool, Split(IMAGES, LABELS), SerialComm())


@pytest.mark.parametrize("norm_group", [1, 2, "global"])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_sums_do_not_depend_on_threads(threads, norm_group):
    expected, expected_loss = sums(1, norm_group=norm_group)
    found, found_loss = sums(threads, norm_group=norm_group)
    assert np.array_equal(found, expected)
    assert found_loss == expected_loss


def test_blocks_are_computed_by_several_threads():
    """All three compute a block at the same time, or the barrier breaks."""
    together, names = threading.Barrier(3, timeout=60), set()

    def before_group(blocks):
        if threading.current_thread().name not in names:
            names.add(threading.current_thread().name)
            together.wait()

    pool_of(3).train(BLOCKS, len(BLOCKS), 3, StepHooks(before_group))
    assert len(names) == 3


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_training_gives_the_golden_digest(threads):
    assert train_here(argv=["--threads", str(threads)]) == GOLDEN[NUMERICS]


@pytest.mark.mpi(ranks=(2,))
def test_ranks_with_threads_give_it_too(call):
    assert digest(call("distcnn.train", "--threads", 3, "--max-steps", STEPS)) == GOLDEN[NUMERICS]


def test_final_sums_are_reported_by_a_single_worker():
    offsets = []
    WorkerPool(Net(OTHERS, (2, 8, 8))).train(BLOCKS, 5, 0, StepHooks(gradients_ready=offsets.append))
    assert offsets
    WorkerPool(Net(OTHERS, (2, 8, 8)), 2).train(BLOCKS, 5, 0, StepHooks(gradients_ready=pytest.fail))


@pytest.mark.parametrize("norm_group", [1, "global"])
@pytest.mark.parametrize("place", [0, -1])
def test_what_one_thread_raises_is_raised(place, norm_group):
    """Also where the other one waits for it in an exchange of statistics."""

    def before_group(blocks):
        if blocks[place] is BLOCKS[place]:
            raise RuntimeError("planted")

    pool = pool_of(2, norm_group)
    with pytest.raises(RuntimeError, match="planted"):
        pool.train(BLOCKS, len(BLOCKS), 3, StepHooks(before_group))
    if norm_group == 1:  # otherwise a thread computes all its blocks at once
        numbers = "64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74" if place else ", ".join(map(str, range(16)))
        assert pool.failed_blocks == f"block {place % 5}, samples {numbers}"
