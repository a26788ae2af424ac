"""A table that the threads of all ranks fill together: where norms over a whole batch meet.

It has a row for every block of the batch, which one thread of one rank fills and all others leave 0, so that its bits,
seen as integers, add up to themselves, in any order and on any number of ranks.
"""

import threading
from contextlib import contextmanager, nullcontext
from itertools import accumulate

import numpy as np

from distcnn.config.types import GLOBAL


def exchanges(norm_group, parts, first, rows, add):
    """Return for each thread a context that gives it its exchange; None unless the group is the whole batch.

    parts: how many blocks each thread of this rank has, of the batch's from `first` on; rows: of the table, as many as
    the batch has blocks, or more; add(array): adds up int32 over all ranks, in place; the first thread alone calls it.
    """
    if norm_group != GLOBAL:
        return [nullcontext() for _ in parts]
    table = Table(parts, first, rows, add)
    return [table.exchange_of(k) for k in range(len(parts))]


class Table:
    """The table of one step; arguments as in `seats`."""

    def __init__(self, parts, first, rows, add):
        self._starts, self._count, self._add = [*accumulate(parts, initial=first)], rows, add
        self._barrier, self._parts, self._whole = threading.Barrier(len(parts)), [None] * len(parts), None

    @contextmanager
    def exchange_of(self, k):
        """Give thread k its exchange(rows), which returns all rows for its own, float32 [blocks, ...].

        Whoever fails inside frees the other threads, which would wait for it: they raise BrokenBarrierError.
        """

        def exchange(rows):
            self._parts[k] = rows
            self._barrier.wait()
            if k == 0:
                self._whole = self._put_together()
            self._barrier.wait()
            return self._whole

        try:
            yield exchange
        except BaseException:
            self._barrier.abort()
            raise

    def _put_together(self):
        whole = np.zeros((self._count, *self._parts[0].shape[1:]), np.float32)
        for start, rows in zip(self._starts, self._parts, strict=False):
            whole[start : start + len(rows)] = rows
        self._add(whole.view(np.int32))
        return whole
