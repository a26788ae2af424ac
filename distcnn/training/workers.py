"""The threads of a rank, which compute blocks in parallel, with the same bits for any number of threads.

Each worker is a net over the same weights with sums and buffers of its own. Exact sums may be added in any order, so
that it does not matter which worker has computed which block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from threading import BrokenBarrierError
from typing import NamedTuple

import numpy as np

from distcnn.config.types import GLOBAL
from distcnn.kernels.float_mode import ieee_mode
from distcnn.kernels.pointwise import move_sums
from distcnn.network.group_plan import partition_unit
from distcnn.network.net import Net
from distcnn.network.plan import Block
from distcnn.parallel.partition import block_range
from distcnn.resilience.diagnose import block_names
from distcnn.training.sync_batchnorm import SyncBatchNorm


class StepHooks(NamedTuple):
    """What is called while the workers of a rank compute their part of a batch.

    before_group: before_group(blocks), by each worker before it computes a group of blocks.
    gradients_ready: gradients_ready(offset) when the net's sums from `offset` on are final, if there is one worker.
    allreduce: allreduce(array) adds up int32 over all ranks, in place, for batch norms over the whole batch; by the
        first worker.
    """

    before_group: Callable[[Sequence[Block]], None] = lambda blocks: None
    gradients_ready: Callable[[int], None] | None = None
    allreduce: Callable[[np.ndarray], None] = lambda array: None


class WorkerPool:
    """The workers of a rank, of which the first is the net itself; with one worker there are no threads.

    The first worker runs on the caller's thread, so that hooks which call MPI do so there.

    workers: nets over the same weights.
    failed_blocks: words on the blocks in which the last call of `train` has failed, otherwise None.
    """

    def __init__(self, net: Net, threads: int = 1):
        self.net, self.workers = net, [net, *(net.worker_copy() for _ in range(threads - 1))]
        self.failed_blocks: str | None = None
        self._threads = _executor(threads - 1) if threads > 1 else None

    @property
    def threads(self) -> int:
        """How many workers there are."""
        return len(self.workers)

    def train(
        self,
        blocks: Sequence[Block],
        positions: int,
        epoch: int,
        hooks: StepHooks | None = None,
        first: int = 0,
    ) -> None:
        """Add the loss, counts and gradients of blocks to the net's sums.

        blocks: this rank's part of the batch.
        positions: how many blocks the batch has over all ranks.
        epoch: from 0, on which augmentation and dropout depend.
        hooks: what to call meanwhile.
        first: the position in the batch of the first of the blocks.
        """
        hooks, self.failed_blocks = hooks or StepHooks(), None
        unit = partition_unit(self.net.norm_group)
        shares = [block_range(len(blocks), k, self.threads, unit) for k in range(self.threads)]
        sync = self._sync_batchnorm([*map(len, shares)], first, positions, hooks)

        def work(k, worker):
            groups = worker.groups([blocks[i] for i in shares[k]])
            with ieee_mode(), sync.worker(k) if sync else nullcontext() as allgather:
                worker.start(positions, epoch)
                self._train_groups(worker, groups, first + shares[k].start, hooks, allgather)

        self.map(work)
        if self.threads > 1:
            self.map(self._collect)

    def clear(self) -> None:
        """Clear all sums, of which a step that failed may have left some."""
        self.failed_blocks = None
        for worker in self.workers:
            worker.sums[:] = 0

    def compile(self) -> None:
        """Make the plans of all workers, for training and for evaluation."""
        for worker in self.workers:
            _ = worker.group, worker.inference
        if self.threads > 1:
            move_sums.compiled  # noqa: B018

    def map(self, work: Callable[[int, Net], None]) -> None:
        """Call work(k, worker) for all workers in parallel; raise what one of them raises when all have ended."""
        others = []
        if self._threads:
            others = [self._threads.submit(work, k, worker) for k, worker in enumerate(self.workers) if k]
        failures = []
        try:
            work(0, self.net)
        except BaseException as error:
            failures.append(error)
        failures += filter(None, [other.exception() for other in others])
        if failures:  # rather a cause than the workers that waited in vain for the one that failed
            raise min(failures, key=lambda error: isinstance(error, BrokenBarrierError))

    def _sync_batchnorm(self, block_counts, first, positions, hooks):
        """Return the exchange of statistics that this step needs, None unless norms are over the whole batch."""
        if self.net.norm_group != GLOBAL:
            return None
        return SyncBatchNorm(block_counts, first, positions, hooks.allreduce)

    def _train_groups(self, worker, groups, place, hooks, allgather):
        """Let a worker compute groups of blocks; place: the position in the batch of the first block."""
        for group in groups:
            last = self.threads == 1 and group is groups[-1]
            try:
                hooks.before_group(group)
                worker.train_group(group, hooks.gradients_ready if last else None, allgather)
            except Exception as error:
                if group and not isinstance(error, BrokenBarrierError):
                    self.failed_blocks = block_names(group, place)
                raise
            place += len(group)

    def _collect(self, k, _):
        """Add worker k's share of all workers' sums to the net's, and clear it in theirs."""
        share = block_range(len(self.net.sums), k, self.threads)
        for other in self.workers[1:]:
            move_sums(self.net.sums[share.start : share.stop], other.sums[share.start : share.stop])


def _executor(threads):
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, "worker")
