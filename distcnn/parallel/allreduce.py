"""The one sum over ranks in a step: gradients, and at the head the counters, in one int64 buffer.

Integers add up to the same bits in any order, so neither the ranks, nor MPI's algorithm, nor the way in which
the buffer is cut into messages can change a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from distcnn.numerics.fixed_point import HEAD, RANGE_BITS, SUM_BITS, Counters
from distcnn.parallel.comm import Comm
from distcnn.parallel.node import node

BUCKET_BYTES = 2**20  # smaller messages cost more in latency than they hide


class GradientAllreduce:
    """Add up `sums` over all ranks, in place.

    sums: int64 `[HEAD + parameters]`, multiples of 2**-36: the counters, then gradients in declaration order.
    offsets: where in `sums` each layer's gradients start, the same on every rank.
    mode: "exact", or "float32", which sends rounded numbers, half the bytes; totals then depend on the ranks.
    overlap: whether finished gradients travel during the backward pass; None: if there are several nodes.
        Through shared memory nothing can overlap, and one blocking sum is twice as fast under Open MPI.
    """

    def __init__(
        self,
        comm: Comm,
        sums: np.ndarray,
        offsets: Sequence[int] = (),
        mode: str = "exact",
        overlap: bool | None = None,
    ):
        if overlap is None:
            overlap = node(comm).count > 1
        self.comm = comm
        self.sums = sums
        self.wire = sums if mode == "exact" else np.empty(sums.shape, np.float32)
        self.blocking = not overlap
        self.buckets = buckets(offsets if overlap else (), len(sums), BUCKET_BYTES // self.wire.itemsize)
        self.requests = []

    def start(self, offset: int) -> None:
        """Begin to add up `sums[offset:]`, which is final on this rank. Offsets fall during a step.

        Every call also makes MPI go on with earlier messages: it does so only when it is called.
        """
        for bucket in self.buckets[len(self.requests) :]:
            if bucket.start < max(offset, HEAD):
                break
            self._start(bucket)
        for request in self.requests:
            request.Test()

    def finish(self) -> None:
        """Add up the rest, the counters last, and return when `sums` holds the totals.

        A rank that has no block of the batch calls this alone, and so sends the same messages as the others.
        """
        if self.blocking:
            self._pack(slice(None))
            self.comm.Allreduce(None, self.wire)
        else:
            for bucket in self.buckets[len(self.requests) :]:
                self._start(bucket)
            for request in self.requests:
                request.Wait()
            self.requests.clear()
        self._unpack()

    def cancel(self) -> None:
        """End all requests of a sum that failed, for MPI may write into `sums` until then."""
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
        """Turn float32 totals back into integers; those out of range become 0 and count as overflows."""
        if self.wire is not self.sums:
            wild = ~(np.abs(self.wire) < 2.0**RANGE_BITS)  # so that NaN counts, too
            self.wire[wild] = 0
            np.multiply(self.wire, 2.0**SUM_BITS, out=self.sums, casting="unsafe")
            Counters(self.sums).overflows += int(np.count_nonzero(wild))


def buckets(offsets: Sequence[int], length: int, least: int) -> list[slice]:
    """Cut `length` numbers at layers' offsets into slices of at least `least`, the last first.

    The one with the counters comes last, of any length. Slices depend on the layers alone, so that all ranks send
    the same messages, however many blocks each has.
    """
    slices, stop = [], length
    for offset in sorted(offsets, reverse=True):
        if stop - offset >= least and offset > HEAD:
            slices.append(slice(offset, stop))
            stop = offset
    return [*slices, slice(0, stop)]
