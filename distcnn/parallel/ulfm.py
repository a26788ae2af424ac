"""A communicator that shrinks to the remaining ranks when some die: MPI's fault tolerance (ULFM).

Open MPI 5 has ULFM under `mpirun --with-ft ulfm`. Elsewhere the death of a rank ends the job, and this module does
nothing.
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
from distcnn.system.counts import plural

if TYPE_CHECKING:
    from mpi4py import MPI

ENABLED = "OMPI_MCA_mpi_ft_enable"  # set to 1 by `mpirun --with-ft ulfm`
BITS = 24  # of each int that is passed to Agree
MOST_BYTES = 2**30  # in a message, because MPI's counts are ints


class UlfmComm:
    """The communicator of the ranks that are alive, with mpi4py's method names.

    `shrink` removes the ranks that have died, and so changes `rank` and `size`.

    all: the communicator of all ranks with which the job began. It is never revoked; `rendezvous` and `agree` use it.
    comm: the communicator of all other calls: a duplicate of `all` until the first error, then a PointToPointComm.
    alive: the ranks of `all` that are alive, in order. Error messages and warnings name ranks by these numbers.
    """

    def __init__(self, comm: MPI.Comm):
        self.all: MPI.Comm = comm
        self.comm: MPI.Comm | PointToPointComm = comm.Dup()
        self.alive, self.groups = [*range(comm.size)], 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.comm, name)

    def allgather(self, value: Any) -> list:
        """Return the values of all ranks, in order of rank, collected by an Allreduce.

        When a rank dies during Open MPI's own Allgatherv, other ranks get garbage and no error (5.0.11, seen in 2 of 3
        small runs; in none of 210 deaths during Allreduce).
        """
        from mpi4py import MPI

        return [MPI.pickle.loads(row) for row in self._rows(MPI.pickle.dumps(value))]

    def gather(self, value: Any, root: int = 0) -> list | None:
        """Return the values of all ranks on rank `root`, and None on the others."""
        values = self.allgather(value)
        return values if self.rank == root else None

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Return rank `root`'s value on every rank."""
        from mpi4py import MPI

        return MPI.pickle.loads(self._rows(MPI.pickle.dumps(value) if self.rank == root else b"")[root])

    def _rows(self, data: bytes) -> list[bytes]:
        """Return the bytes of all ranks: each rank adds its own bytes to zeros."""
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
        """Return which ranks of `all` are alive, once each of them has called this method as often as this rank has.

        Every rank sends a message to every other rank, and sleeps until each of these has sent one or has died. So no
        rank depends on what two other ranks exchange, nor on a rank that has left. In Open MPI's own Agree some ranks
        wait for ever if others die while a rank is late (5.0.11: in 10 of 13 small runs, and in none of 40 runs with a
        rendezvous before Agree).

        cancelled: cancelled() returns whether to stop waiting.
        """
        here = {self.all.rank}
        pending: dict[int, tuple[MPI.Request, MPI.Request]] = {}
        for other in self.alive:
            with suppress(*failures(self)):
                if other != self.all.rank:
                    arrival = self.all.Irecv(EMPTY.copy(), other, RENDEZVOUS)
                    pending[other] = arrival, self.all.Isend(EMPTY, other, RENDEZVOUS)

        def all_arrived() -> bool:
            for other, requests in [*pending.items()]:
                with suppress(*failures(self)):
                    if not all(request.Test() for request in requests):
                        continue
                    here.add(other)
                del pending[other]
            return not pending or cancelled()

        sleep_until(all_arrived)
        return here

    def shrink(self) -> list[int]:
        """Remove the ranks that have died, and return their numbers in `all`. Collective among the remaining ranks.

        The caller revokes the communicator first: so every other rank's pending and later calls fail, and all ranks
        call this method.
        """
        before, seen = self.alive, None
        while seen is None:
            here = self.rendezvous()
            with suppress(*failures(self)):  # another rank has died: all ranks repeat this
                self.all.Ack_failed()
                seen = [self.all.Agree(mask) for mask in _masks(here, self.all.size)]
        self.alive = [rank for rank in before if seen[rank // BITS] >> rank % BITS & 1]
        self.groups += 1
        self.comm = PointToPointComm(self.all, self.alive, self.groups)
        return [rank for rank in before if rank not in self.alive]

    def failure_message(self, failed: list[int], when: str) -> str:
        """Return a message that names the ranks of `all` that have failed, and says how many ranks continue."""
        size = self.all.size
        who = f"{plural(len(failed), 'rank')} {', '.join(map(str, failed))} of {size}"
        return f"{who} died {when}; {self.size} of {size} continue"

    def agree(self, ended: bool, sound: bool = True) -> tuple[bool, bool]:
        """Return (whether all ranks have ended, whether all are sound), the same on all ranks. Collective.

        The result is (False, True) if a rank has died. This works on a revoked communicator, too.

        ended: whether this rank has ended its attempt.
        sound: whether this rank has raised no exception of its own.
        """
        whole = len(self.rendezvous()) == len(self.alive)
        try:
            flags = self.all.Agree((ended and whole) + 2 * sound)
        except failures(self):
            return False, True
        return bool(flags & 1), bool(flags & 2)


def _masks(ranks: set[int], size: int) -> list[int]:
    """Return a set of ranks as bits, BITS of them in each int: Agree keeps the bits that are set on all ranks."""
    return [sum((start + k in ranks) << k for k in range(BITS)) for start in range(0, size, BITS)]


def ulfm_comm(comm: Any) -> Comm:
    """Return a UlfmComm of the ranks of `comm`, or `comm` itself if the death of one rank ends the job."""
    if os.environ.get(ENABLED) != "1" or comm.size == 1:
        return comm
    from mpi4py import MPI

    return UlfmComm(comm) if MPI.ERR_PROC_FAILED != MPI.ERR_REVOKED else comm


def rank_number(comm: Comm, rank: int | None = None) -> int:
    """Return the number that a rank, by default this one, had when the job began, as messages name it."""
    rank = comm.rank if rank is None else rank
    return comm.alive[rank] if isinstance(comm, UlfmComm) else rank


def rank_name(comm: Comm, rank: int | None = None) -> str:
    """Return a rank's name in messages, such as "rank 2 of 4", by the numbers with which the job began.

    rank: None for this rank.
    """
    return f"rank {rank_number(comm, rank)} of {comm.all.size if isinstance(comm, UlfmComm) else comm.size}"


def failures(comm: Comm) -> tuple[type[Exception], ...]:
    """Return the exceptions that may mean that a rank has died: all of MPI's, as their error classes are unreliable."""
    if not isinstance(comm, UlfmComm):
        return ()
    from mpi4py import MPI

    return (MPI.Exception,)
