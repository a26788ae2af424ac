"""Batch norm over a whole batch: the threads of all ranks exchange the statistics of their blocks.

The statistics of the batch are a table with a row for every block. Each row is filled by one thread of one rank and 0
on all other ranks, so that an allreduce of the rows' bits, as integers, gives the same bits on any number of ranks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate

import numpy as np


class SyncBatchNorm:
    """The exchange of one step.

    block_counts: how many blocks each worker of this rank has.
    first: the position in the batch of this rank's first block.
    positions: how many blocks the batch has over all ranks, or more.
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
        self._rows, self._table = [None] * len(block_counts), None

    @contextmanager
    def worker(self, k: int) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
        """Give worker k its allgather(rows), which returns the rows of all blocks for its own, float32 [blocks, ...].

        All workers of all ranks call it as often. One that fails inside the context frees the others of its rank, which
        would wait for it: they raise BrokenBarrierError.
        """

        def allgather(rows):
            self._rows[k] = rows
            self._barrier.wait()
            if k == 0:
                self._table = self._filled()
            self._barrier.wait()
            return self._table

        try:
            yield allgather
        except BaseException:
            self._barrier.abort()
            raise

    def _filled(self):
        """Return the rows of all blocks of the batch."""
        table = np.zeros((self._positions, *self._rows[0].shape[1:]), np.float32)
        for start, rows in zip(self._starts, self._rows, strict=False):
            table[start : start + len(rows)] = rows
        self._allreduce(table.view(np.int32))
        return table
