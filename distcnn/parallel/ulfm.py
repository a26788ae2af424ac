"""A communicator that goes on with the ranks that are left when some die: MPI's fault tolerance (ULFM).

Open MPI 5 has it under `mpirun --with-ft ulfm`. Elsewhere the death of a rank ends the job, and nothing here is used.
"""

import os
import sys
from contextlib import suppress

import numpy as np

from distcnn.errors import DistcnnError
from distcnn.parallel.collective import collective_rank, mark_collective, sleep_until
from distcnn.parallel.point_to_point import EMPTY, MEETING, PointToPointComm

ENABLED = "OMPI_MCA_mpi_ft_enable"  # set to 1 by `mpirun --with-ft ulfm`
BITS = 24  # of an int, which Agree takes
MOST_BYTES = 2**30  # in a message: MPI's counts are ints
MAX_SPURIOUS_FAILURES = 3  # MPI errors in a row without a death


class UlfmComm:
    """MPI's communicator of the ranks that are alive, under its own names; `close_ranks` leaves out the dead.

    Whoever holds it sees rank and size change then. lost: how many ranks have died so far. all: the communicator that
    the job began with, never revoked, on which ranks meet and agree; comm: what they do everything else with, one of
    MPI's own until the first error. living: the numbers that the ranks had when the job began, by which people know
    them.
    """

    def __init__(self, comm):
        self.all, self.comm = comm, comm.Dup()
        self.alive, self.groups = [*range(comm.size)], 0

    def __getattr__(self, name):
        return getattr(self.comm, name)

    @property
    def lost(self):
        return self.all.size - len(self.alive)

    def allgather(self, value):
        """Return every rank's value, collected by sums.

        When a rank dies within Open MPI's own Allgatherv, others are told of success and given garbage (5.0.11, seen
        in 2 of 3 small runs; in none of 210 deaths within Allreduce).
        """
        from mpi4py import MPI

        return [MPI.pickle.loads(row) for row in self._rows(MPI.pickle.dumps(value))]

    def gather(self, value, root=0):
        """Return every rank's value on one rank, None on the others."""
        values = self.allgather(value)
        return values if self.rank == root else None

    def bcast(self, value, root=0):
        """Return the value of one rank, on all."""
        from mpi4py import MPI

        return MPI.pickle.loads(self._rows(MPI.pickle.dumps(value) if self.rank == root else b"")[root])

    def _rows(self, data):
        """Return every rank's bytes, added up where the others have zeros."""
        sizes = np.zeros(self.size, np.int64)
        sizes[self.rank] = len(data)
        self.comm.Allreduce(None, sizes)
        ends = np.cumsum(sizes)
        row = np.zeros(ends[-1], np.uint8)
        row[ends[self.rank] - len(data) : ends[self.rank]] = np.frombuffer(data, np.uint8)
        for start in range(0, len(row), MOST_BYTES):
            self.comm.Allreduce(None, row[start : start + MOST_BYTES])
        return [row[end - size : end].tobytes() for end, size in zip(ends, sizes, strict=True)]

    def rendezvous(self, given_up=lambda: False):
        """Return who is alive, when each has called this as often as this rank; sleep meanwhile.

        A rank tells every other one, and waits for word from each or the news of its death: so none depends on what
        another hears, nor on one that has left. In Open MPI's own Agree some ranks wait for ever if others die while a
        late one is waited for (5.0.11: 10 of 13 small runs, and none of 40 in which all met before).
        given_up(): whether there is no point in waiting any longer.
        """
        here, left = {self.all.rank}, {}
        for other in self.alive:
            with suppress(failures(self)):
                if other != self.all.rank:
                    arrival = self.all.Irecv(EMPTY.copy(), other, MEETING)
                    left[other] = arrival, self.all.Isend(EMPTY, other, MEETING)

        def all_met():
            for other, requests in [*left.items()]:
                with suppress(failures(self)):
                    if not all(request.Test() for request in requests):
                        continue
                    here.add(other)
                del left[other]
            return not left or given_up()

        sleep_until(all_met)
        return here

    def shrink(self):
        """Leave out whoever has died; every rank that is left must call this. Returns the numbers of the dead.

        `Revoke` comes first: it makes every other rank's pending and later calls fail, so that all come here.
        Numbers are those that ranks had when the job began.
        """
        before, seen = self.alive, None
        while seen is None:
            here = self.rendezvous()
            with suppress(failures(self)):  # another has died: all go round again
                self.all.Ack_failed()
                seen = [self.all.Agree(mask) for mask in _masks(here, self.all.size)]
        self.alive = [rank for rank in before if seen[rank // BITS] >> rank % BITS & 1]
        self.groups += 1
        self.comm = PointToPointComm(self.all, self.alive, self.groups)
        return [rank for rank in before if rank not in self.alive]

    def failure_message(self, dead, when) -> str:
        """Return words on the ranks of these numbers, and on the others."""
        size = self.all.size
        who = f"rank{'s' * (len(dead) > 1)} {', '.join(map(str, dead))} of {size}"
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
    """Return these ranks as bits, BITS of them in a number, so that ranks can agree on those that all have seen."""
    return [sum((start + k in ranks) << k for k in range(BITS)) for start in range(0, size, BITS)]


def ulfm_comm(comm):
    """Return a communicator that can lose ranks, or `comm` itself where the death of one is the end of all."""
    if os.environ.get(ENABLED) != "1" or comm.size == 1:
        return comm
    from mpi4py import MPI

    return UlfmComm(comm) if MPI.ERR_PROC_FAILED != MPI.ERR_REVOKED else comm


def retry_on_rank_failure(comm, function):
    """Return `function()`, or raise what it raises alike on all ranks, when all ranks have come so far.

    If some die meanwhile, those that are left begin anew: so it must do no harm when it is done twice. An exception of
    one rank alone ends the job: the others raise one of MPI.
    """
    if not isinstance(comm, UlfmComm):
        return function()
    spurious_failures = 0
    while True:
        result = failure = None
        try:
            result = function()
        except (Exception, SystemExit) as error:
            failure = error
        known = failure is None or collective_rank(failure) is not None
        if not known:
            comm.Revoke()
        ended, sound = comm.agree(known, sound=known or isinstance(failure, failures(comm)))
        if failure and (ended or not sound):
            raise failure
        if ended:
            return result
        if not sound:
            raise _revoked()
        dead = comm.shrink()
        spurious_failures = 0 if dead else spurious_failures + 1
        if spurious_failures > MAX_SPURIOUS_FAILURES:
            raise mark_collective(too_many(spurious_failures))
        if dead and comm.rank == 0:
            print(
                f"distcnn: warning: {comm.failure_message(dead, 'before training')}",
                file=sys.stderr,
                flush=True,
            )


def too_many(spurious_failures):
    """Return the exception that ends a job in which MPI fails again and again for no such reason as a death."""
    return DistcnnError(f"MPI failed {spurious_failures} times in a row, but no rank has died")


def _revoked():
    from mpi4py import MPI

    return MPI.Exception(MPI.ERR_REVOKED)


def rank_number(comm, rank=None):
    """Return the number that a rank, this one unless given, had when the job began: people know it by that."""
    rank = comm.rank if rank is None else rank
    return comm.alive[rank] if isinstance(comm, UlfmComm) else rank


def rank_name(comm, rank=None):
    """Return words on a rank, this one unless given, and how many the job began with."""
    return f"rank {rank_number(comm, rank)} of {comm.all.size if isinstance(comm, UlfmComm) else comm.size}"


def failures(comm):
    """Return the exceptions that mean "find out who is left": whichever MPI raises, for their classes tell little."""
    if not isinstance(comm, UlfmComm):
        return ()
    from mpi4py import MPI

    return (MPI.Exception,)
