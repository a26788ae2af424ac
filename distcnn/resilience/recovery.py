"""Recovery from rank failure and memory corruption: the remaining ranks resume from one state; final bits are the same.

The protocol, for Open MPI under `mpirun --with-ft ulfm` (elsewhere one failed rank ends the job):

1.  Any MPI error, in any call, means: find out who is alive. The rank revokes the communicator, so that all others'
    calls on it fail, too. All of `work` uses one communicator, so that no rank can wait on another one.
2.  Every rank, whether its `work` has ended, failed, or was made to fail, meets all others, each pair by itself, and
    agrees with them on the outcome (`parallel/retry.py`). It is the same everywhere: the run has ended on all ranks, or
    all go on with 3.
3.  Pending requests are completed, whatever their result, before their buffers are touched. All agree on who is
    alive; from now on these ranks send messages between pairs in place of MPI's collective calls, see
    `parallel/point_to_point.py`.
4.  Each sends its progress. A sum needs all ranks, so none is ahead by more than one step; the furthest sends its
    replica and its record of the last epoch. No rank overwrites anything before all of it has arrived.
5.  The sums are cleared, and blocks partitioned among the ranks. A new rank 0 writes what the old one has not.
6.  `work` is called again: it does what is still due after the last finished step, then the next step. An error in 3
    to 5 leads back to 1, on the newest communicator.

What comes before `work` leaves nothing behind and is repeated as a whole: see `retry_on_rank_failure`.

A rank that raises an exception takes part in 1 to 4, so that the others learn of it, and then kills itself. If its step
has cost a rank before, the sample may be at fault and would kill one rank after the other: then all end, and so they do
if no rank is sound. If replicas differ, all go back to the last state that was the same on all.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from distcnn.errors import DistcnnError
from distcnn.parallel.collective import collective_rank, mark_collective
from distcnn.parallel.comm import Comm
from distcnn.parallel.heartbeat import WAITING, Heartbeat
from distcnn.parallel.retry import MAX_SPURIOUS_FAILURES, Outcome, retry, too_many
from distcnn.parallel.ulfm import UlfmComm, failures, rank_name, rank_number
from distcnn.resilience.replicas import ReplicaMismatch, Replicas
from distcnn.resilience.watchdog import Watchdog
from distcnn.run.training_progress import TrainingProgress

T = TypeVar("T")


class Replica(Protocol):
    """What recovery needs of a trainer.

    arrays: what a replica consists of.
    failed_blocks: words on the blocks in which this rank has failed, or None.
    cancel: ends pending requests.
    restart: goes on from a progress, for which the arrays have been written, with the ranks that there are now.
    """

    heartbeat: Heartbeat

    @property
    def arrays(self) -> list[np.ndarray]: ...
    @property
    def progress(self) -> TrainingProgress: ...
    @property
    def failed_blocks(self) -> str | None: ...
    def cancel(self) -> None: ...
    def restart(self, progress: TrainingProgress) -> None: ...


class Log(Protocol):
    """What recovery needs of a recorder.

    record: of the last epoch.
    resume: goes on from a progress, with the record of the last epoch before it.
    warn: shows a warning.
    """

    record: Any

    def resume(self, progress: TrainingProgress, record: Any) -> None: ...
    def warn(self, text: str) -> None: ...


class Recovery:
    """Calls the work of a training again after failures.

    comm: of all ranks.
    trainer: this rank's replica.
    replicas: compares it with the others.
    log: what the run writes and shows.
    watchdog: of this rank.
    """

    def __init__(self, comm: Comm, trainer: Replica, replicas: Replicas, log: Log, watchdog: Watchdog):
        self.comm, self.trainer, self.replicas = comm, trainer, replicas
        self.log, self.watchdog = log, watchdog
        self.last_failed_step = None  # the step that has cost a rank
        self.failed, self.fault = [], None  # ranks to report; what this rank has raised
        self.spurious_failures, self.furthest = 0, 0  # in a row, without a step further than the furthest
        self.since = time.perf_counter()  # when this rank's last attempt ended

    def run(self, work: Callable[[], T]) -> T:
        """Return `work()`, called again as often as ranks die or replicas differ, once all ranks have ended it."""
        return retry(self.comm, work, self._repair_of, self._attempt_ended)

    def _attempt_ended(self, error):
        """Report an exception of which the other ranks know nothing, before waiting for them."""
        self.since = time.perf_counter()
        if error and collective_rank(error) is None and not isinstance(error, failures(self.comm)):
            self._report_fault(error)
        if isinstance(self.comm, UlfmComm):
            self.trainer.heartbeat.beat(WAITING)

    def _repair_of(self, outcome, error):
        """Return what the next attempt begins with, or None for the end."""
        if outcome is not Outcome.ENDED:
            return self._shrink_and_resume
        return partial(self._rollback, error) if isinstance(error, ReplicaMismatch) else None

    def _report_fault(self, error):
        """Print an exception of this rank alone; raise it where the other ranks cannot learn of it."""
        comm, where = self.comm, [f"in step {self.trainer.progress.steps + 1}"]
        where = ", ".join([*where, *filter(None, [self.trainer.failed_blocks])])
        who = f"distcnn: {rank_name(comm)} on {socket.gethostname()} failed {where}"
        if not isinstance(comm, UlfmComm) or comm.size == 1 or self.fault:
            print(who, file=sys.stderr, flush=True)
            raise error
        print("".join(traceback.format_exception(error)) + who, file=sys.stderr, flush=True)
        self.fault = f"{type(error).__name__} {where}: {error}"

    def _shrink_and_resume(self):
        """Go on with the ranks that are alive, from the furthest step that one of them has finished."""
        trainer, comm, before = self.trainer, self.comm, self.trainer.progress.steps
        trainer.cancel()
        self._record_failed(comm.shrink())
        self._abort_if_hopeless(comm.allgather((self.fault, before, self.spurious_failures)))
        progress, source = self.replicas.sync_to_latest(trainer.arrays, trainer.progress)
        trainer.restart(progress)
        self.log.resume(progress, comm.bcast(self.log.record, source))
        if self.failed:
            self.last_failed_step = progress.steps
            milliseconds = (time.perf_counter() - self.since) * 1e3
            message = comm.failure_message(self.failed, f"in step {before + 1}")
            self.log.warn(f"{message} with step {progress.steps + 1} after {milliseconds:.0f} ms")
            self.failed = []

    def _record_failed(self, failed):
        """Remember the ranks that have died.

        A rank that was stopped for so long that the others may have gone on without it cannot conclude from their
        absence that they have died: it ends, as another job may be at work in the run's folder.
        """
        if failed and self.watchdog.woke_late():
            print("distcnn: a rank wakes late, when others have gone: it ends", file=sys.stderr, flush=True)
            self._kill_this_rank()
        self.failed += failed
        self.spurious_failures = 0 if failed else self.spurious_failures + 1

    def _rollback(self, mismatch):
        """Go back to the last state that was the same on all ranks."""
        trainer, step = self.trainer, self.trainer.progress.steps
        progress = self.replicas.rollback(trainer.arrays)
        trainer.restart(progress)
        self.log.resume(progress, self.log.record)
        self.log.warn(f"step {step}: {mismatch}; all go back to step {progress.steps}")

    def _abort_if_hopeless(self, found):
        """End this rank if it has failed, or all ranks, if that would help none of them.

        found: fault, step and number of spurious failures of each rank.

        Raises DistcnnError on every rank if MPI fails again and again though no rank dies.
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
            self._kill_this_rank()

    def _kill_this_rank(self):
        time.sleep(0.1)  # Open MPI may lose what was written just before
        os.kill(os.getpid(), signal.SIGKILL)
