"""The allreduce of a step: one int64 buffer, which holds the counters and then the gradients.

A sum of integers does not depend on their order, so neither the number of ranks, nor MPI's algorithm, nor the division
of the buffer into messages can change a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from distcnn.numerics.fixed_point import HEAD, RANGE_BITS, SUM_BITS, Counters
from distcnn.parallel.comm import Comm, Request
from distcnn.parallel.node import node

BUCKET_BYTES = 2**20  # smaller messages cost more in latency than they hide


class GradientAllreduce:
    """Adds up `sums` over all ranks, in place.

    sums: int64 `[HEAD + parameters]`, multiples of 2**-36: the counters, then gradients in declaration order.
    offsets: where in `sums` each layer's gradients start, the same on every rank.
    mode: "exact", or "float32", which sends rounded numbers of half the size, so that totals depend on the number of
        ranks.
    skipped: sums[HEAD:skipped] are 0 on all ranks and are not sent; HEAD: there are none.
    overlap: whether finished gradients are sent during the backward pass; None: if there are several nodes. Through
        shared memory nothing can overlap, and one blocking allreduce is twice as fast under Open MPI.
    """

    def __init__(
        self,
        comm: Comm,
        sums: np.ndarray,
        offsets: Sequence[int] = (),
        mode: str = "exact",
        overlap: bool | None = None,
        skipped: int = HEAD,
    ):
        if overlap is None:
            overlap = node(comm).count > 1
        self.comm = comm
        self.sums = sums
        self.wire = sums if mode == "exact" else np.zeros(sums.shape, np.float32)
        self.blocking = not overlap
        least = BUCKET_BYTES // self.wire.itemsize
        self.buckets = buckets(offsets if overlap else (), len(sums), least, skipped)
        self.requests: list[Request] = []

    def start(self, offset: int) -> None:
        """Start to add up `sums[offset:]`, which is final on this rank, unless blocking. Offsets decrease in a step.

        Every call also tests the earlier requests, as MPI progresses messages only inside its own calls.
        """
        for bucket in [] if self.blocking else self.buckets[len(self.requests) :]:
            if bucket.start < max(offset, HEAD):
                break
            self._start(bucket)
        for request in self.requests:
            request.Test()

    def finish(self) -> None:
        """Add up the remaining buckets, the one with the counters last, and return when `sums` holds the totals.

        A rank that has no block of the batch calls only this method, and so sends the same messages as the others.
        """
        if self.blocking:
            for bucket in self.buckets:
                self._pack(bucket)
                self.comm.Allreduce(None, self.wire[bucket])
        else:
            for bucket in self.buckets[len(self.requests) :]:
                self._start(bucket)
            for request in self.requests:
                request.Wait()
            self.requests.clear()
        self._unpack()

    def cancel(self) -> None:
        """Wait for the requests of an allreduce that failed: until they are complete, MPI may write into `sums`."""
        for request in self.requests:
            with suppress(Exception):
                request.Wait()
        self.requests.clear()

    def _start(self, bucket: slice) -> None:
        self._pack(bucket)
        self.requests.append(self.comm.Iallreduce(None, self.wire[bucket]))

    def _pack(self, bucket: slice) -> None:
        if self.wire is not self.sums:
            np.multiply(self.sums[bucket], 2.0**-SUM_BITS, out=self.wire[bucket], casting="same_kind")

    def _unpack(self) -> None:
        """Convert float32 totals to integers; those out of range become 0 and count as overflows."""
        if self.wire is not self.sums:
            wild = ~(np.abs(self.wire) < 2.0**RANGE_BITS)  # so that NaN counts, too
            self.wire[wild] = 0
            np.multiply(self.wire, 2.0**SUM_BITS, out=self.sums, casting="unsafe")
            Counters(self.sums).overflows += int(np.count_nonzero(wild))


def buckets(offsets: Sequence[int], length: int, least: int, skipped: int = HEAD) -> list[slice]:
    """Return slices that divide `length` numbers at layers' offsets, the last numbers first.

    Every slice has at least `least` numbers, except the last one returned, which holds the counters. Slices depend only
    on the layers, so that all ranks send the same messages, however many blocks each rank has. Numbers from HEAD to
    `skipped` are in no slice.
    """
    slices, stop = [], length
    for offset in sorted(offsets, reverse=True):
        if stop - offset >= least and offset > skipped:
            slices.append(slice(offset, stop))
            stop = offset
    if skipped > HEAD:
        return [*slices, slice(skipped, stop), slice(0, HEAD)]
    return [*slices, slice(0, stop)]
