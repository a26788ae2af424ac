"""What some ranks do together, by messages between pairs of them: no communicator has to be made for it.

Where ranks die, Open MPI cannot be trusted to make one: who is told of a death meanwhile crashes (5.0.11: in Shrink,
ranks that wait for the new communicator to become active, at times all of them).
"""

from contextlib import suppress
from itertools import pairwise

import numpy as np

from distcnn.parallel.collective import sleep_until
from distcnn.parallel.serial import Done

MEETING, ALARM, DATA, KINDS = 0, 1, 2, 3  # tags, KINDS of them for each group of ranks
EMPTY = np.empty(0, np.uint8)
UNFINISHED = []  # requests that nobody waits for any more: MPI may use their memory as long as the process lives


class PointToPointComm:
    """A communicator's calls among the `living` ranks of `comm`, under MPI's names; they fail when one of these dies.

    number: of the group of ranks that these are, so that its messages are told from those of groups before it. An
    alarm is a message that every rank expects of every other from the beginning: it comes when one revokes, and the
    expectation itself fails when the other dies.
    """

    def __init__(self, comm, alive, number):
        self.comm, self.rank, self.size = comm, alive.index(comm.rank), len(alive)
        self.others, self.tag = [rank for rank in alive if rank != comm.rank], KINDS * number
        self._alarms, self._revoked = [], False
        for other in self.others:
            try:
                self._alarms.append(comm.Irecv(EMPTY.copy(), other, self.tag + ALARM))
            except Exception:  # it has died meanwhile
                self._revoked = True

    def Revoke(self):
        """Make all calls fail, on every rank."""
        self._revoked = True
        for other in self.others:
            with suppress(Exception):  # it is dead
                UNFINISHED.append(self.comm.Isend(EMPTY, other, self.tag + ALARM))

    def Is_revoked(self):
        """Return whether some rank has revoked, as far as this one knows."""
        with suppress(Exception):
            self.check_revoked()
            return False
        return True

    def Allreduce(self, send, array):
        """Add up a contiguous array over all ranks, in place: each adds up a part of it and tells the others."""
        flat = array.reshape(-1)
        cuts = [len(flat) * k // self.size for k in range(self.size + 1)]
        parts = [flat[start:stop] for start, stop in pairwise(cuts)]
        own = parts.pop(self.rank)
        for arrived in self._exchange(parts, [own] * len(parts)):
            own += arrived
        for part, arrived in zip(parts, self._exchange([own] * len(parts), parts), strict=True):
            part[:] = arrived

    def Iallreduce(self, send, array):
        self.Allreduce(send, array)
        return Done()

    def Bcast(self, array, root=0):
        """Give all ranks the array of one."""
        nothing = np.empty(0, array.dtype)
        sent = [array if self.rank == root else nothing] * len(self.others)
        numbers = [k for k in range(self.size) if k != self.rank]
        wanted = [array if number == root else nothing for number in numbers]
        for number, arrived in zip(numbers, self._exchange(sent, wanted), strict=True):
            if number == root:
                array[...] = arrived.reshape(array.shape)

    def Ibarrier(self):
        return Exchange(self, [EMPTY] * len(self.others), [EMPTY] * len(self.others))

    def _exchange(self, sent, like):
        """Send an array to each other rank, and return one from each, of the shapes that `like` has."""
        exchange = Exchange(self, sent, like)
        exchange.Wait()
        return exchange.arrived

    def check_revoked(self):
        """Raise MPI.Exception if a rank has revoked or died."""
        from mpi4py import MPI

        if self._revoked or any(alarm.Test() for alarm in self._alarms):
            self._revoked = True
            raise MPI.Exception(MPI.ERR_REVOKED)


class Exchange:
    """A request: all other ranks have sent what they have for this one, and got what it has for them."""

    def __init__(self, comm_by_messages, sent, like):
        self._comm, comm, tag = comm_by_messages, comm_by_messages.comm, comm_by_messages.tag + DATA
        comm_by_messages.check_revoked()
        self.arrived = [np.empty_like(array) for array in like]
        self._requests = []
        try:
            for other, array in zip(comm_by_messages.others, self.arrived, strict=True):
                self._requests.append(comm.Irecv(array, other, tag))
            for other, array in zip(comm_by_messages.others, sent, strict=True):
                self._requests.append(comm.Isend(array.copy(), other, tag))
        except Exception:
            UNFINISHED.extend(self._requests)
            raise

    def Test(self):
        """Return whether all is there; raise MPI.Exception if it never will be."""
        try:
            self._requests = [request for request in self._requests if not request.Test()]
            if self._requests:
                self._comm.check_revoked()
        except Exception:
            UNFINISHED.extend(self._requests)
            raise
        return not self._requests

    def Wait(self):
        """Return True when all is there; sleep meanwhile."""
        sleep_until(self.Test)
        return True
