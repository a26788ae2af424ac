"""What becomes of a run when ranks die, or bits: those that are left go on from one state, and the same bits follow.

The protocol, for Open MPI under `mpirun --with-ft ulfm` (elsewhere one death ends the job):

1.  Any MPI error, in any call, means: find out who is left. The rank revokes the communicator, so that all others'
    calls on it fail, too, and everybody comes here.
2.  Requests under way are completed, whatever their result, before their buffers are touched.
3.  The communicator shrinks to those that are alive.
4.  Each tells where it stands. A sum needs all ranks, so nobody is ahead by more than one step; the furthest shares its
    replica and its record of the last epoch. Nothing of what a rank had is touched before all of it has arrived.
5.  The sums are cleared, blocks divided anew. A new rank 0 writes what the old one has not.
6.  An error in 1 to 5 leads back to 1, on the newest communicator.
7.  `work` is begun anew: it does what is still due after the last finished step, then the next step.
8.  The end is an agreement: `work` has ended on all ranks, and none has died meanwhile; otherwise back to 1.

A rank's own exception becomes such a death: it takes part in 1 to 3 to tell the others, and then kills itself. If its
step has cost a rank already, the sample may be at fault, and would kill one rank after the other: then all end, and so
they do if no rank is sound. A replica that differs from the others sends all back to the last common state.
"""

import os
import signal
import socket
import sys
import time
import traceback

from distcnn.blame import samples
from distcnn.errors import DistcnnError
from distcnn.parallel.agreement import agreed, agreed_rank
from distcnn.parallel.survivors import Survivors, failures
from distcnn.parallel.watch import WAITING
from distcnn.replicas import Spoilt

MOST_FALSE_ALARMS = 3  # MPI errors in a row without a death


class Survival:
    """Keeps a training going; `recorder` tells and writes."""

    def __init__(self, training, recorder):
        self.training, self.recorder, self.comm = training, recorder, training.comm
        self.costly = None  # the step that has cost a rank
        self.dead, self.false_alarms, self.fault = [], 0, None

    def run(self, work):
        """Return `work()`, begun anew as often as ranks die or replicas differ, once all ranks have ended it."""
        repair = None
        while True:
            try:
                if repair:
                    repair()
                return self._ended(work)
            except failures(self.comm) as error:
                repair = self._alarmed(error)
            except Spoilt as error:
                self.reason, repair = error, self._go_back
            except Exception as error:
                if agreed_rank(error) is not None:
                    raise
                repair = self._failed(error)

    def _alarmed(self, error):
        """Return what to do after an MPI error; raise it if there was no death behind the last ones."""
        self.since = time.perf_counter()
        self.false_alarms += 1
        if self.false_alarms > MOST_FALSE_ALARMS:
            raise error
        return self._regroup

    def _failed(self, error):
        """Return what to do after an exception that the other ranks do not know of; raise it where they cannot hear."""
        training, comm = self.training, self.comm
        block = f", {samples(training.block)}" if training.block else ""
        where = f"in step {training.steps + 1}{block}"
        who = f"distcnn: rank {comm.rank} of {comm.size} on {socket.gethostname()} failed {where}"
        if not isinstance(comm, Survivors) or comm.size == 1 or self.fault:
            print(who, file=sys.stderr, flush=True)
            raise error
        print("".join(traceback.format_exception(error)) + who, file=sys.stderr, flush=True)
        self.since = time.perf_counter()
        self.fault = f"{type(error).__name__} {where}: {error}"
        return self._regroup

    def _ended(self, work):
        """Return `work()`, or raise what all ranks raise alike, when all have come so far."""
        outcome = None
        try:
            result = work()
        except DistcnnError as error:
            if agreed_rank(error) is None:
                raise
            outcome = error
        if isinstance(self.comm, Survivors):
            self.training.watch.note(WAITING)
            self.comm.agree()
        if outcome:
            raise outcome
        return result

    def _regroup(self):
        """Go on with the ranks that are left, from the furthest step that one of them has finished."""
        training, comm, before = self.training, self.comm, self.training.steps
        training.watch.note(WAITING)
        comm.Revoke()
        training.reduction.abandon()
        self.dead += comm.close_ranks()
        self._judge(comm.allgather((self.fault, training.steps)))
        source = training.replicas.level()
        training.divide()
        self.recorder.go_on(training, comm.bcast(self.recorder.record, source))
        if self.dead:
            self.costly, self.false_alarms = training.steps, 0
            self.recorder.warn(self._obituary(training.steps - before))
            self.dead = []

    def _obituary(self, ahead):
        dead, size = self.dead, self.comm.world.size
        who = f"rank{'s' * (len(dead) > 1)} {', '.join(map(str, dead))} of {size} died"
        milliseconds = (time.perf_counter() - self.since) * 1e3
        return (
            f"{who} in step {self.training.steps + 1 - ahead}; {self.comm.size} of {size} go on with step "
            f"{self.training.steps + 1} after {milliseconds:.0f} ms"
        )

    def _go_back(self):
        """Go back to the last state that all replicas shared."""
        training, step = self.training, self.training.steps
        training.replicas.go_back()
        self.recorder.go_on(training, self.recorder.record)
        self.recorder.warn(f"step {step}: {self.reason}; all go back to step {training.steps}")

    def _judge(self, found):
        """End this rank if it has failed, or all, if that would help nobody; found: (fault, step) of each rank."""
        faulty = [rank for rank, (fault, _) in enumerate(found) if fault]
        again = [rank for rank in faulty if found[rank][1] == self.costly]
        if again or len(faulty) == len(found):
            rank = (again or faulty)[0]
            why = "; the step has cost a rank before" if again else " on all ranks"
            raise agreed(DistcnnError(found[rank][0] + why), rank)
        if self.fault:
            time.sleep(0.1)  # Open MPI may lose what was written just before
            os.kill(os.getpid(), signal.SIGKILL)
