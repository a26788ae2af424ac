"""Collective calls of some ranks by messages between pairs of them: no communicator has to be made for that.

Where ranks die, Open MPI cannot be trusted to make one: a rank that learns of a death meanwhile crashes (5.0.11: in
Shrink, ranks that wait for the new communicator to become active, at times all of them).
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from distcnn.parallel.collective import sleep_until
from distcnn.parallel.serial import Done

if TYPE_CHECKING:
    from mpi4py import MPI

RENDEZVOUS, REVOKE, DATA, KINDS = 0, 1, 2, 3  # tags, KINDS of them for each group of ranks
EMPTY = np.empty(0, np.uint8)
ABANDONED = []  # requests that no rank waits for any more: MPI may use their memory as long as the process lives


class PointToPointComm:
    """The calls of a communicator for the ranks `alive` of `comm`, under MPI's names; they fail when one of these dies.

    Every rank posts a receive for a revoke notice from every other one at the beginning: the notice comes when that
    rank revokes, and the receive itself fails when that rank dies.

    comm: MPI's communicator, which carries the messages.
    alive: ranks of `comm`, in order.
    number: of this group of ranks, so that its messages differ in their tags from those of earlier groups.
    """

    def __init__(self, comm: MPI.Comm, alive: list[int], number: int):
        self.comm, self.rank, self.size = comm, alive.index(comm.rank), len(alive)
        self.others, self.tag = [rank for rank in alive if rank != comm.rank], KINDS * number
        self._revoke_notices, self._revoked = [], False
        for other in self.others:
            try:
                self._revoke_notices.append(comm.Irecv(EMPTY.copy(), other, self.tag + REVOKE))
            except Exception:  # it has died meanwhile
                self._revoked = True

    def Revoke(self) -> None:
        """Make all calls fail, on every rank."""
        self._revoked = True
        for other in self.others:
            with suppress(Exception):  # it is dead
                ABANDONED.append(self.comm.Isend(EMPTY, other, self.tag + REVOKE))

    def Is_revoked(self) -> bool:
        """Return whether some rank has revoked, as far as this one knows."""
        with suppress(Exception):
            self.check_revoked()
            return False
        return True

    def Allreduce(self, send: None, array: np.ndarray) -> None:
        """Add up a contiguous array over all ranks, in place: each rank adds up one part and sends it to the others."""
        flat = array.reshape(-1)
        cuts = [len(flat) * k // self.size for k in range(self.size + 1)]
        parts = [flat[start:stop] for start, stop in pairwise(cuts)]
        own = parts.pop(self.rank)
        for arrived in self._exchange(parts, [own] * len(parts)):
            own += arrived
        for part, arrived in zip(parts, self._exchange([own] * len(parts), parts), strict=True):
            part[:] = arrived

    def Iallreduce(self, send: None, array: np.ndarray) -> Done:
        """Do as Allreduce; the request that is returned is complete."""
        self.Allreduce(send, array)
        return Done()

    def Bcast(self, array: np.ndarray, root: int = 0) -> None:
        """Copy the array of one rank into that of every other."""
        nothing = np.empty(0, array.dtype)
        sent = [array if self.rank == root else nothing] * len(self.others)
        numbers = [k for k in range(self.size) if k != self.rank]
        wanted = [array if number == root else nothing for number in numbers]
        for number, arrived in zip(numbers, self._exchange(sent, wanted), strict=True):
            if number == root:
                array[...] = arrived.reshape(array.shape)

    def Ibarrier(self) -> Exchange:
        """Return a request that is complete when every rank has called this."""
        return Exchange(self, [EMPTY] * len(self.others), [EMPTY] * len(self.others))

    def _exchange(self, sent, like):
        """Send an array to each other rank, and return one from each, of the shapes that `like` has."""
        exchange = Exchange(self, sent, like)
        exchange.Wait()
        return exchange.arrived

    def check_revoked(self) -> None:
        """Raise MPI.Exception if a rank has revoked or died."""
        from mpi4py import MPI

        if self._revoked or any(notice.Test() for notice in self._revoke_notices):
            self._revoked = True
            raise MPI.Exception(MPI.ERR_REVOKED)


class Exchange:
    """A request: this rank has sent an array to each other rank, and received one from each.

    comm: the PointToPointComm.
    sent: the arrays to send, in the order of `comm.others`.
    like: arrays of the shapes and types to receive.
    arrived: what was received, once the request is complete.
    """

    def __init__(self, comm: PointToPointComm, sent: list[np.ndarray], like: list[np.ndarray]):
        comm.check_revoked()
        self.arrived = [np.empty_like(array) for array in like]
        self._comm, self._pending, tag = comm, [], comm.tag + DATA
        try:
            for other, array in zip(comm.others, self.arrived, strict=True):
                self._pending.append(comm.comm.Irecv(array, other, tag))
            for other, array in zip(comm.others, sent, strict=True):
                self._pending.append(comm.comm.Isend(array.copy(), other, tag))
        except Exception:
            ABANDONED.extend(self._pending)
            raise

    def Test(self) -> bool:
        """Return whether the request is complete; raise MPI.Exception if it never will be."""
        try:
            self._pending = [request for request in self._pending if not request.Test()]
            if self._pending:
                self._comm.check_revoked()
        except Exception:
            ABANDONED.extend(self._pending)
            raise
        return not self._pending

    def Wait(self) -> bool:
        """Return True when the request is complete; sleep meanwhile."""
        sleep_until(self.Test)
        return True
