"""The threads of a rank, which compute blocks in parallel, with the same bits for any number of threads.

All workers share the weights; each worker owns its sums and buffers. Exact sums may be added in any order, so the
result does not depend on which worker has computed which block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from threading import BrokenBarrierError
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distcnn.config.types import GLOBAL
from distcnn.kernels.float_mode import ieee_mode
from distcnn.kernels.pointwise import move_sums
from distcnn.network.group_plan import partition_unit
from distcnn.network.net import Net
from distcnn.network.plan import Block
from distcnn.network.worker import Worker
from distcnn.parallel.partition import block_range
from distcnn.resilience.diagnose import block_names
from distcnn.training.sync_batchnorm import SyncBatchNorm

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


class StepHooks(NamedTuple):
    """Functions that the workers of a rank call while they compute their part of a batch.

    before_group: each worker calls before_group(blocks) before it computes a group of blocks.
    gradients_ready: if there is only one worker, it calls gradients_ready(offset) when the net's sums from `offset` on
        are final.
    allreduce: the first worker calls allreduce(array) to add up int32 over all ranks, in place, for batch norms over
        the whole batch.
    """

    before_group: Callable[[Sequence[Block]], None] = lambda blocks: None
    gradients_ready: Callable[[int], None] | None = None
    allreduce: Callable[[np.ndarray], None] = lambda array: None


class WorkerPool:
    """The workers of a rank. The first worker is the net itself and runs on the caller's thread, which may call MPI.

    net: the first worker.
    workers: nets that share their weights.
    failed_blocks: the names of the blocks in which the last call of `train` has failed, or None.
    """

    def __init__(self, net: Net, threads: int = 1):
        self.net = net
        self.workers: list[Worker] = [net, *(net.worker_copy() for _ in range(threads - 1))]
        self.failed_blocks: str | None = None
        self._threads = _executor(threads - 1) if threads > 1 else None

    @property
    def threads(self) -> int:
        """The number of workers."""
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
        positions: the number of blocks that the batch has over all ranks.
        epoch: from 0; augmentation and dropout depend on it.
        hooks: functions to call meanwhile.
        first: the position in the batch of the first of the blocks.
        """
        hooks, self.failed_blocks = hooks or StepHooks(), None
        unit = partition_unit(self.net.norm_group)
        shares = [block_range(len(blocks), k, self.threads, unit) for k in range(self.threads)]
        sync = self._sync_batchnorm([*map(len, shares)], first, positions, hooks)

        def work(k: int, worker: Worker) -> None:
            groups = worker.groups([blocks[i] for i in shares[k]])
            with ieee_mode(), sync.worker(k) if sync else nullcontext() as allgather:
                worker.start(positions, epoch)
                self._train_groups(worker, groups, first + shares[k].start, hooks, allgather)

        self.map(work)
        if self.threads > 1:
            self.map(self._collect)

    def clear(self) -> None:
        """Set all sums to 0, as a step that has failed may have left some."""
        self.failed_blocks = None
        for worker in self.workers:
            worker.sums[:] = 0

    def compile(self) -> None:
        """Make the plans of all workers, for training and for evaluation, and so compile or load their kernels."""
        for worker in self.workers:
            _ = worker.group, worker.inference
        if self.threads > 1:
            move_sums.compiled  # noqa: B018

    def close(self) -> None:
        """End the threads."""
        if self._threads:
            self._threads.shutdown()

    def map(self, work: Callable[[int, Worker], None]) -> None:
        """Call work(k, worker) for all workers in parallel; when all have ended, raise an exception of one of them."""
        others: list[Future] = []
        if self._threads:
            others = [self._threads.submit(work, k, worker) for k, worker in enumerate(self.workers) if k]
        failures: list[BaseException] = []
        try:
            work(0, self.net)
        except BaseException as error:
            failures.append(error)
        failures += filter(None, [other.exception() for other in others])
        if failures:  # BrokenBarrierError only says that another worker has failed
            raise min(failures, key=lambda error: isinstance(error, BrokenBarrierError))

    def _sync_batchnorm(
        self, block_counts: Sequence[int], first: int, positions: int, hooks: StepHooks
    ) -> SyncBatchNorm | None:
        """Return the exchange of statistics for this step, or None if norms are not over the whole batch."""
        if self.net.norm_group != GLOBAL:
            return None
        return SyncBatchNorm(block_counts, first, positions, hooks.allreduce)

    def _train_groups(
        self,
        worker: Worker,
        groups: Sequence[Sequence[Block]],
        position: int,
        hooks: StepHooks,
        allgather: Callable[[np.ndarray], np.ndarray] | None,
    ) -> None:
        """Let a worker compute groups of blocks; position: that of the first block in the batch."""
        for group in groups:
            last = self.threads == 1 and group is groups[-1]
            try:
                hooks.before_group(group)
                worker.train_group(group, hooks.gradients_ready if last else None, allgather)
            except Exception as error:
                if group and not isinstance(error, BrokenBarrierError):
                    self.failed_blocks = block_names(group, position)
                raise
            position += len(group)

    def _collect(self, k: int, _: Worker) -> None:
        """Move the k-th share of all other workers' sums to the net's sums."""
        share = block_range(len(self.net.sums), k, self.threads)
        for other in self.workers[1:]:
            move_sums(self.net.sums[share.start : share.stop], other.sums[share.start : share.stop])


def _executor(threads: int) -> ThreadPoolExecutor:
    """Return an executor; it is imported here, as only ranks with several workers need it."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, "worker")
