"""Collective calls among some of the ranks, made of messages between pairs, so that no new communicator is needed.

Open MPI cannot be trusted to make a communicator while ranks die: a rank that learns of a death meanwhile crashes
(5.0.11: in Shrink, ranks that wait for the new communicator to become active; sometimes all of them).
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

RENDEZVOUS, REVOKE, DATA, KINDS = 0, 1, 2, 3  # tags of messages; each group of ranks uses KINDS of them
EMPTY = np.empty(0, np.uint8)
# Requests for which no rank waits any more: MPI may use their memory as long as the process lives.
ABANDONED: list[MPI.Request] = []


class PointToPointComm:
    """A communicator of the ranks `alive` of `comm`; its calls raise MPI.Exception once one of these ranks has died.

    At the beginning every rank posts a receive for a revoke notice from every other rank. A rank that revokes sends the
    notice; if a rank dies, the receive from it fails.

    comm: MPI's communicator, which carries the messages.
    alive: ranks of `comm`, in order.
    number: of this group of ranks, so that its messages have other tags than those of earlier groups.
    """

    def __init__(self, comm: MPI.Comm, alive: list[int], number: int):
        self.comm, self.rank, self.size = comm, alive.index(comm.rank), len(alive)
        self.others, self.tag = [rank for rank in alive if rank != comm.rank], KINDS * number
        self._revoke_notices, self._revoked = [], False
        for other in self.others:
            try:
                self._revoke_notices.append(comm.Irecv(EMPTY.copy(), other, self.tag + REVOKE))
            except Exception:  # that rank has died meanwhile
                self._revoked = True

    def Revoke(self) -> None:
        """Make this and all later calls of the communicator fail, on every rank."""
        self._revoked = True
        for other in self.others:
            with suppress(Exception):  # that rank is dead
                ABANDONED.append(self.comm.Isend(EMPTY, other, self.tag + REVOKE))

    def Is_revoked(self) -> bool:
        """Return whether this rank knows that a rank has revoked the communicator or died."""
        with suppress(Exception):
            self.check_revoked()
            return False
        return True

    def Allreduce(self, send: None, array: np.ndarray) -> None:
        """Add up a contiguous array over all ranks, in place.

        Each rank adds up one section of the array and sends it to the other ranks.
        """
        flat = array.reshape(-1)
        cuts = [len(flat) * k // self.size for k in range(self.size + 1)]
        others = [flat[start:stop] for start, stop in pairwise(cuts)]
        own = others.pop(self.rank)
        for arrived in self._exchange(others, [own] * len(others)):
            own += arrived
        for section, arrived in zip(others, self._exchange([own] * len(others), others), strict=True):
            section[:] = arrived

    def Iallreduce(self, send: None, array: np.ndarray) -> Done:
        """Add up an array as `Allreduce` does, and return a request that is complete."""
        self.Allreduce(send, array)
        return Done()

    def Bcast(self, array: np.ndarray, root: int = 0) -> None:
        """Copy rank `root`'s array into the arrays of all other ranks."""
        nothing = np.empty(0, array.dtype)
        sent = [array if self.rank == root else nothing] * len(self.others)
        numbers = [k for k in range(self.size) if k != self.rank]
        wanted = [array if number == root else nothing for number in numbers]
        for number, arrived in zip(numbers, self._exchange(sent, wanted), strict=True):
            if number == root:
                array[...] = arrived.reshape(array.shape)

    def Ibarrier(self) -> Exchange:
        """Return a request that is complete once every rank has called this method."""
        return Exchange(self, [EMPTY] * len(self.others), [EMPTY] * len(self.others))

    def _exchange(self, sent: list[np.ndarray], like: list[np.ndarray]) -> list[np.ndarray]:
        """Send an array to each other rank, and return the arrays received, which are shaped as those in `like`."""
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
    """A request to send an array to each other rank and to receive one from each.

    comm: the PointToPointComm.
    sent: the arrays to send, in the order of `comm.others`.
    like: arrays of the shapes and types to receive.
    arrived: the arrays received, valid once the request is complete.
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
        """Return whether the request is complete; raise MPI.Exception if a rank has revoked or died before that."""
        try:
            self._pending = [request for request in self._pending if not request.Test()]
            if self._pending:
                self._comm.check_revoked()
        except Exception:
            ABANDONED.extend(self._pending)
            raise
        return not self._pending

    def Wait(self) -> bool:
        """Sleep until the request is complete, and return True."""
        sleep_until(self.Test)
        return True
