"""A communicator that shrinks to the remaining ranks when some die: MPI's fault tolerance (ULFM).

Open MPI 5 has it under `mpirun --with-ft ulfm`. Elsewhere the death of a rank ends the job, and nothing here is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from distcnn.parallel.collective import sleep_until
from distcnn.parallel.comm import Comm
from distcnn.parallel.point_to_point import EMPTY, RENDEZVOUS, PointToPointComm

if TYPE_CHECKING:
    from mpi4py import MPI

ENABLED = "OMPI_MCA_mpi_ft_enable"  # set to 1 by `mpirun --with-ft ulfm`
BITS = 24  # of an int, which Agree takes
MOST_BYTES = 2**30  # in a message: MPI's counts are ints


class UlfmComm:
    """The communicator of the ranks that are alive, with the names of mpi4py; `shrink` leaves out those that have died.

    Its rank and size change then.

    all: the communicator that the job began with. It is never revoked; on it ranks rendezvous and agree.
    comm: what everything else goes through: one of MPI's own until the first error, then a PointToPointComm.
    alive: the ranks of `all` that are alive, in order. Messages name ranks by these numbers.
    """

    def __init__(self, comm: MPI.Comm):
        self.all: MPI.Comm = comm
        self.comm: MPI.Comm | PointToPointComm = comm.Dup()
        self.alive, self.groups = [*range(comm.size)], 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.comm, name)

    def allgather(self, value: Any) -> list:
        """Return every rank's value, collected by sums.

        When a rank dies within Open MPI's own Allgatherv, other ranks get garbage and no error (5.0.11, seen in 2 of 3
        small runs; in none of 210 deaths within Allreduce).
        """
        from mpi4py import MPI

        return [MPI.pickle.loads(row) for row in self._rows(MPI.pickle.dumps(value))]

    def gather(self, value: Any, root: int = 0) -> list | None:
        """Return every rank's value on one rank, None on the others."""
        values = self.allgather(value)
        return values if self.rank == root else None

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Return the value of one rank, on all."""
        from mpi4py import MPI

        return MPI.pickle.loads(self._rows(MPI.pickle.dumps(value) if self.rank == root else b"")[root])

    def _rows(self, data):
        """Return every rank's bytes: each rank adds its own to zeros."""
        sizes = np.zeros(self.size, np.int64)
        sizes[self.rank] = len(data)
        self.comm.Allreduce(None, sizes)
        ends = np.cumsum(sizes)
        row = np.zeros(ends[-1], np.uint8)
        row[ends[self.rank] - len(data) : ends[self.rank]] = np.frombuffer(data, np.uint8)
        for start in range(0, len(row), MOST_BYTES):
            self.comm.Allreduce(None, row[start : start + MOST_BYTES])
        return [row[end - size : end].tobytes() for end, size in zip(ends, sizes, strict=True)]

    def rendezvous(self, cancelled: Callable[[], bool] = lambda: False) -> set[int]:
        """Return which ranks of `all` are alive, once each of them has called this as often as this rank has.

        A rank sends a message to every other one, and sleeps until each has sent one or has died: so no rank depends on
        what another one receives, nor on one that has left. In Open MPI's own Agree some ranks wait for ever if others
        die while a late one is waited for (5.0.11: 10 of 13 small runs, and none of 40 in which all met before).

        cancelled: cancelled() is whether to stop waiting.
        """
        here, pending = {self.all.rank}, {}
        for other in self.alive:
            with suppress(*failures(self)):
                if other != self.all.rank:
                    arrival = self.all.Irecv(EMPTY.copy(), other, RENDEZVOUS)
                    pending[other] = arrival, self.all.Isend(EMPTY, other, RENDEZVOUS)

        def all_met():
            for other, requests in [*pending.items()]:
                with suppress(*failures(self)):
                    if not all(request.Test() for request in requests):
                        continue
                    here.add(other)
                del pending[other]
            return not pending or cancelled()

        sleep_until(all_met)
        return here

    def shrink(self) -> list[int]:
        """Leave out the ranks that have died, and return their numbers in `all`; every other rank must call this.

        `Revoke` comes first: it makes every other rank's pending and later calls fail, so that all come here.
        """
        before, seen = self.alive, None
        while seen is None:
            here = self.rendezvous()
            with suppress(*failures(self)):  # another has died: all go round again
                self.all.Ack_failed()
                seen = [self.all.Agree(mask) for mask in _masks(here, self.all.size)]
        self.alive = [rank for rank in before if seen[rank // BITS] >> rank % BITS & 1]
        self.groups += 1
        self.comm = PointToPointComm(self.all, self.alive, self.groups)
        return [rank for rank in before if rank not in self.alive]

    def failure_message(self, failed: list[int], when: str) -> str:
        """Return words on ranks of `all` that have failed, and on how many go on."""
        size = self.all.size
        who = f"rank{'s' * (len(failed) > 1)} {', '.join(map(str, failed))} of {size}"
        return f"{who} died {when}; {self.size} of {size} go on"

    def agree(self, ended: bool, sound: bool = True) -> tuple[bool, bool]:
        """Return, when every rank has called this, whether all have ended and all are sound: the same on all ranks.

        (False, True) if any has died. It works on a revoked communicator, too.
        """
        whole = len(self.rendezvous()) == len(self.alive)
        try:
            flags = self.all.Agree((ended and whole) + 2 * sound)
        except failures(self):
            return False, True
        return bool(flags & 1), bool(flags & 2)


def _masks(ranks, size):
    """Return these ranks as bits, BITS of them in a number: Agree then leaves those that all ranks have seen."""
    return [sum((start + k in ranks) << k for k in range(BITS)) for start in range(0, size, BITS)]


def ulfm_comm(comm: Any) -> Comm:
    """Return a UlfmComm of the ranks of `comm`, or `comm` itself where the death of one rank ends the job."""
    if os.environ.get(ENABLED) != "1" or comm.size == 1:
        return comm
    from mpi4py import MPI

    return UlfmComm(comm) if MPI.ERR_PROC_FAILED != MPI.ERR_REVOKED else comm


def rank_number(comm: Comm, rank: int | None = None) -> int:
    """Return the number that a rank, by default this one, had when the job began: messages name it so."""
    rank = comm.rank if rank is None else rank
    return comm.alive[rank] if isinstance(comm, UlfmComm) else rank


def rank_name(comm: Comm, rank: int | None = None) -> str:
    """Return "rank 2 of 4": a rank, by default this one, by its number and how many ranks the job began with."""
    return f"rank {rank_number(comm, rank)} of {comm.all.size if isinstance(comm, UlfmComm) else comm.size}"


def failures(comm: Comm) -> tuple[type[Exception], ...]:
    """Return the exceptions that mean "find out who is alive": all of MPI, for their classes say little."""
    if not isinstance(comm, UlfmComm):
        return ()
    from mpi4py import MPI

    return (MPI.Exception,)
