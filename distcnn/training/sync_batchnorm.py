"""Batch norm over a whole batch: the threads of all ranks exchange the statistics of their blocks.

The statistics of the batch are an array with a row for every block. One thread of one rank fills each row, which is 0
on all other ranks. So an allreduce of the rows' bits, as integers, gives the same bits on any number of ranks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

import numpy as np

NO_ROWS = np.empty((0, 0), np.float32)


class SyncBatchNorm:
    """An allgather of rows among all threads of all ranks, for one step.

    block_counts: the number of blocks of each worker of this rank.
    first: the position in the batch of this rank's first block.
    positions: at least the number of blocks that the batch has over all ranks.
    allreduce: allreduce(array) adds up int32 over all ranks, in place; only the first worker calls it.
    """

    def __init__(
        self,
        block_counts: Sequence[int],
        first: int,
        positions: int,
        allreduce: Callable[[np.ndarray], None],
    ):
        self._starts, self._positions = [*accumulate(block_counts, initial=first)], positions
        self._allreduce, self._barrier = allreduce, threading.Barrier(len(block_counts))
        self._rows, self._batch_rows = [NO_ROWS] * len(block_counts), NO_ROWS

    @contextmanager
    def worker(self, k: int) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
        """Yield the function allgather(rows) of worker k, which returns the rows of all blocks of the batch.

        The rows are those of the worker's blocks, float32 [blocks, ...]. All workers of all ranks must call allgather
        equally often. If a worker fails inside the context, the other workers of its rank do not wait for it, but raise
        BrokenBarrierError.
        """

        def allgather(rows: np.ndarray) -> np.ndarray:
            self._rows[k] = rows
            self._barrier.wait()
            if k == 0:
                self._batch_rows = self._exchange()
            self._barrier.wait()
            return self._batch_rows

        try:
            yield allgather
        except BaseException:
            self._barrier.abort()
            raise

    def _exchange(self) -> np.ndarray:
        """Return the rows of all blocks of the batch."""
        batch_rows = np.zeros((self._positions, *self._rows[0].shape[1:]), np.float32)
        for start, rows in zip(self._starts, self._rows, strict=False):
            batch_rows[start : start + len(rows)] = rows
        self._allreduce(batch_rows.view(np.int32))
        return batch_rows
