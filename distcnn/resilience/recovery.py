"""What becomes of a run when ranks die, or bits: those that are left go on from one state, and the same bits follow.

The protocol, for Open MPI under `mpirun --with-ft ulfm` (elsewhere one death ends the job):

1.  Any MPI error, in any call, means: find out who is left. The rank revokes the communicator, so that all others'
    calls on it fail, too. There is one communicator alone for `work`, so nobody can wait on another.
2.  Every rank, whether its `work` has ended, failed, or was made to fail, meets all others, each pair by itself, and
    agrees with them on whether all is well. The answer is the same everywhere: the run has ended on all ranks, or all
    go on with 3.
3.  Requests under way are completed, whatever their result, before their buffers are touched. All agree on who is
    alive; from now on these do by messages between pairs what MPI's communicator did, see `parallel/letters.py`.
4.  Each tells where it stands. A sum needs all ranks, so nobody is ahead by more than one step; the furthest shares its
    replica and its record of the last epoch. Nothing of what a rank had is touched before all of it has arrived.
5.  The sums are cleared, blocks divided anew. A new rank 0 writes what the old one has not.
6.  `work` is begun anew: it does what is still due after the last finished step, then the next step. An error in 3 to 5
    leads back to 1, on the newest communicator.

What comes before `work` leaves nothing behind, and is begun anew as a whole: see `undisturbed`.

A rank's own exception becomes such a death: it takes part in 1 to 4 to tell the others, and then kills itself. If its
step has cost a rank already, the sample may be at fault, and would kill one rank after the other: then all end, and so
they do if no rank is sound. A replica that differs from the others sends all back to the last common state.
"""

import os
import signal
import socket
import sys
import time
import traceback

from distcnn.errors import DistcnnError
from distcnn.parallel.collective import collective_rank, mark_collective
from distcnn.parallel.ulfm import MAX_SPURIOUS_FAILURES, UlfmComm, failures, rank_name, rank_number, too_many
from distcnn.parallel.watch import WAITING
from distcnn.resilience.replicas import ReplicaMismatch


class Recovery:
    """Keeps a training going; `recorder` tells and writes."""

    def __init__(self, trainer, recorder):
        self.trainer, self.recorder, self.comm = trainer, recorder, trainer.comm
        self.last_failed_step = None  # the step that has cost a rank
        self.dead, self.fault, self.reason = [], None, None
        self.spurious_failures, self.furthest = 0, 0  # in a row, without a step further than the furthest
        self.since = time.perf_counter()  # of the last time that ranks met

    def run(self, work):
        """Return `work()`, begun anew as often as ranks die or replicas differ, once all ranks have ended it."""
        repair = None
        while True:
            result = problem = None
            try:
                if repair:
                    repair()
                result = work()
            except Exception as error:
                problem = error
            if not self._known_to_all(problem):
                repair = self._shrink_and_resume
            elif isinstance(problem, ReplicaMismatch):
                self.reason, repair = problem, self._rollback
            elif problem:
                raise problem
            else:
                return result

    def _known_to_all(self, problem):
        """Return, when all ranks have come so far, whether each knows how `work` has ended: the same on all ranks."""
        self.since, known = time.perf_counter(), True
        if problem and not isinstance(problem, ReplicaMismatch) and collective_rank(problem) is None:
            known = False
            if not isinstance(problem, failures(self.comm)):
                self._note_fault(problem)
        if not isinstance(self.comm, UlfmComm):
            return True
        self.trainer.watch.note(WAITING)
        if not known:
            self.comm.Revoke()
        return self.comm.agree(known)[0]

    def _note_fault(self, error):
        """Tell of an exception that the other ranks do not know of; raise it where they cannot hear."""
        trainer, comm = self.trainer, self.comm
        where = ", ".join(filter(None, (f"in step {trainer.steps + 1}", getattr(error, "in_hand", None))))
        who = f"distcnn: {rank_name(comm)} on {socket.gethostname()} failed {where}"
        if not isinstance(comm, UlfmComm) or comm.size == 1 or self.fault:
            print(who, file=sys.stderr, flush=True)
            raise error
        print("".join(traceback.format_exception(error)) + who, file=sys.stderr, flush=True)
        self.fault = f"{type(error).__name__} {where}: {error}"

    def _shrink_and_resume(self):
        """Go on with the ranks that are left, from the furthest step that one of them has finished."""
        trainer, comm, before = self.trainer, self.comm, self.trainer.steps
        trainer.reduction.cancel()
        self._record_failed(comm.shrink())
        self._abort_if_hopeless(comm.allgather((self.fault, trainer.steps, self.spurious_failures)))
        source = trainer.replicas.sync_to_latest()
        trainer.repartition()
        self.recorder.resume(trainer, comm.bcast(self.recorder.record, source))
        if self.dead:
            self.last_failed_step = trainer.steps
            milliseconds = (time.perf_counter() - self.since) * 1e3
            words = comm.failure_message(self.dead, f"in step {before + 1}")
            self.recorder.warn(f"{words} with step {trainer.steps + 1} after {milliseconds:.0f} ms")
            self.dead = []

    def _record_failed(self, dead):
        """Note who has died.

        A rank that was stopped for so long that the others may have given it up does not take their absence for their
        death: it ends, as another job may be at work in the run's folder.
        """
        if dead and self.trainer.watch.woke_late():
            print("distcnn: a rank wakes late, when others have gone: it ends", file=sys.stderr, flush=True)
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)
        self.dead += dead
        self.spurious_failures = 0 if dead else self.spurious_failures + 1

    def _rollback(self):
        """Go back to the last state that all replicas shared."""
        trainer, step = self.trainer, self.trainer.steps
        trainer.replicas.rollback()
        self.recorder.resume(trainer, self.recorder.record)
        self.recorder.warn(f"step {step}: {self.reason}; all go back to step {trainer.steps}")

    def _abort_if_hopeless(self, found):
        """End this rank if it has failed, or all, if that would help nobody.

        found: fault, step and number of false alarms of each rank. Raises DistcnnError on every rank if MPI fails
        again and again though nobody dies.
        """
        _, steps, spurious_failures = zip(*found, strict=True)
        if max(spurious_failures) > MAX_SPURIOUS_FAILURES:
            raise mark_collective(too_many(max(spurious_failures)))
        if max(steps) > self.furthest:
            self.furthest, self.spurious_failures = max(steps), 0
        faulty = [rank for rank, (fault, _, _) in enumerate(found) if fault]
        again = [rank for rank in faulty if found[rank][1] == self.last_failed_step]
        if again or len(faulty) == len(found):
            rank = (again or faulty)[0]
            why = "; the step has cost a rank before" if again else " on all ranks"
            raise mark_collective(DistcnnError(found[rank][0] + why), rank_number(self.comm, rank))
        if self.fault:
            time.sleep(0.1)  # Open MPI may lose what was written just before
            os.kill(os.getpid(), signal.SIGKILL)
