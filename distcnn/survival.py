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

A rank's own exception becomes such a death: it tells what happened and kills itself. If its step has cost a rank
already, the sample may be at fault, and would kill one rank after the other: then it takes part in 1 to 4 once more
to tell the others, and all end. A replica that differs from the others sends all back to the last common state.
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
                self.since = time.perf_counter()
                self.false_alarms += 1
                if self.false_alarms > MOST_FALSE_ALARMS:
                    raise
                self.error, repair = error, self._regroup
            except Spoilt as error:
                self.error, repair = error, self._go_back
            except Exception as error:
                if agreed_rank(error) is not None:
                    raise
                self._perish(error)
                repair = self._regroup

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
        faults = comm.allgather(self.fault)
        if any(faults):
            rank = next(k for k in range(comm.size) if faults[k])
            raise agreed(DistcnnError(faults[rank]), rank)
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
        self.recorder.warn(f"step {step}: {self.error}; all go back to step {training.steps}")

    def _perish(self, error):
        """Die of an exception that the other ranks do not know of, so that they go on; raise it where they cannot.

        Returns if the step has cost a rank before, with a `fault` for the others to hear of.
        """
        training, comm = self.training, self.comm
        block = f", {samples(training.block)}" if training.block else ""
        where = f"in step {training.steps + 1}{block}"
        who = f"distcnn: rank {comm.rank} of {comm.size} on {socket.gethostname()}"
        if not isinstance(comm, Survivors) or comm.size == 1:
            print(f"{who}: {where}:", file=sys.stderr, flush=True)
            raise error
        print(
            "".join(traceback.format_exception(error)) + f"{who} failed {where}", file=sys.stderr, flush=True
        )
        if training.steps == self.costly:
            self.fault = f"{type(error).__name__} {where}, a step that has cost a rank already: {error}"
            return
        time.sleep(0.1)  # Open MPI may lose what was written just before
        os.kill(os.getpid(), signal.SIGKILL)
