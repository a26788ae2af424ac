"""Recovery from rank failure and memory corruption: the remaining ranks resume from one state; final bits are the same.

The protocol, for Open MPI under `mpirun --with-ft ulfm` (elsewhere one failed rank ends the job):

1.  A rank on which any MPI call fails revokes the communicator, so that all calls of the other ranks fail, too. All of
    `work` uses one communicator, so that no rank can wait on a communicator that is not revoked.
2.  Every rank, whether its `work` has ended or failed, exchanges a message with every other rank, and all agree on the
    outcome (`parallel/retry.py`): either the run has ended on all ranks, or all continue with 3.
3.  Every rank waits for its pending requests, and ignores their results, before it touches their buffers. All agree on
    which ranks are alive. From now on these ranks send messages between pairs instead of calling MPI's collectives, see
    `parallel/point_to_point.py`.
4.  Every rank sends its progress. An allreduce needs all ranks, so no rank is ahead by more than one step. The rank
    that is furthest sends its replica and its record of the last epoch. No rank overwrites its arrays before it has
    received all of them.
5.  Every rank clears its sums, and blocks are partitioned anew. A new rank 0 writes what the old one has not written.
6.  Every rank calls `work` again, which does what is still due after the last finished step, then the next step. An
    error in 3 to 5 leads back to 1, on the newest communicator.

Work before training leaves nothing behind and is repeated as a whole: see `retry_on_rank_failure`.

A rank that raises an exception takes part in 1 to 4, so that the other ranks learn of it, and then kills itself. If the
same step has already cost a rank, one of its samples may be the cause, which would kill one rank after the other; then
all ranks end. They also end if every rank has raised an exception. If replicas differ, all ranks roll back to the last
state that was equal on all of them.
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
from distcnn.resilience.replica_check import ReplicaMismatch, Replicas
from distcnn.resilience.watchdog import Watchdog
from distcnn.run.training_progress import TrainingProgress
from distcnn.system.terminal_text import printable, say

T = TypeVar("T")


class Replica(Protocol):
    """The attributes and methods of a trainer that recovery uses.

    heartbeat: of this rank.
    arrays: all arrays of the replica.
    progress: how far training is.
    failed_blocks: the names of the blocks in which this rank has failed, or None.
    cancel: waits for pending requests, and ignores their results.
    restart: resumes from a progress, whose arrays have been written, with the ranks that are alive.
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
    """The attributes and methods of a recorder that recovery uses.

    record: of the last epoch.
    resume: resumes from a progress, with the record of the last epoch before it.
    warn: shows a warning.
    """

    record: Any

    def resume(self, progress: TrainingProgress, record: Any) -> None: ...
    def warn(self, text: str) -> None: ...


class Recovery:
    """Calls the training loop again after failures.

    comm: the communicator of all ranks.
    trainer: holds this rank's replica.
    replicas: compares this replica with those of the other ranks.
    log: writes and shows the run.
    watchdog: of this rank.
    """

    def __init__(self, comm: Comm, trainer: Replica, replicas: Replicas, log: Log, watchdog: Watchdog):
        self.comm, self.trainer, self.replicas = comm, trainer, replicas
        self.log, self.watchdog = log, watchdog
        self.last_failed_step: int | None = None  # how many steps were finished when a rank last died
        self.failed: list[int] = []  # ranks that have died and are not yet reported
        self.fault: str | None = None  # description of the exception that this rank has raised
        self.spurious_failures = 0  # MPI errors in a row without a failed rank and without progress
        self.furthest = 0  # the largest number of finished steps so far
        self.since = time.perf_counter()  # when this rank's last attempt ended

    def run(self, work: Callable[[], T]) -> T:
        """Call `work()` until no rank dies and no replicas differ during the call; return its result."""
        return retry(self.comm, work, self._repair_of, self._attempt_ended)

    def _attempt_ended(self, error: BaseException | None) -> None:
        """Report an exception that only this rank raises, before this rank waits for the others."""
        self.since = time.perf_counter()
        if error and collective_rank(error) is None and not isinstance(error, failures(self.comm)):
            self._report_fault(error)
        if isinstance(self.comm, UlfmComm):
            self.trainer.heartbeat.beat(WAITING)

    def _repair_of(self, outcome: Outcome, error: BaseException | None) -> Callable[[], None] | None:
        """Return the function that the next attempt calls first, or None if there is no further attempt."""
        if outcome is not Outcome.ENDED:
            return self._shrink_and_resume
        return partial(self._rollback, error) if isinstance(error, ReplicaMismatch) else None

    def _report_fault(self, error: BaseException) -> None:
        """Print an exception that only this rank raises; raise it if the other ranks cannot recover from it."""
        comm, step = self.comm, f"in step {self.trainer.progress.steps + 1}"
        where = ", ".join(filter(None, [step, self.trainer.failed_blocks]))
        who = f"distcnn: {rank_name(comm)} on {socket.gethostname()} failed {where}"
        if not isinstance(comm, UlfmComm) or comm.size == 1 or self.fault:
            say(who, sys.stderr)
            raise error
        say("".join(traceback.format_exception(error)) + printable(who), sys.stderr, lines=True)
        self.fault = f"{type(error).__name__} {where}: {error}"

    def _shrink_and_resume(self) -> None:
        """Resume with the ranks that are alive, after the last step that any of them has finished."""
        trainer, comm, before = self.trainer, self.comm, self.trainer.progress.steps
        assert isinstance(comm, UlfmComm)  # no other communicator has ranks that fail
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

    def _record_failed(self, failed: list[int]) -> None:
        """Record the ranks that have died, or end this rank.

        If this rank was stopped so long that the others may have continued without it, it must not conclude from their
        absence that they have died. It ends, because another job may be using the run's folder.
        """
        if failed and self.watchdog.woke_late():
            message = "distcnn: a rank was stopped until the others were gone: it ends"
            say(message, sys.stderr)
            self._kill_this_rank()
        self.failed += failed
        self.spurious_failures = 0 if failed else self.spurious_failures + 1

    def _rollback(self, mismatch: ReplicaMismatch) -> None:
        """Resume from the last state that was equal on all ranks."""
        trainer, step = self.trainer, self.trainer.progress.steps
        progress = self.replicas.rollback(trainer.arrays)
        trainer.restart(progress)
        self.log.resume(progress, self.log.record)
        self.log.warn(f"step {step}: {mismatch}; all roll back to step {progress.steps}")

    def _abort_if_hopeless(self, found: list[tuple[str | None, int, int]]) -> None:
        """End this rank if it has raised an exception, or the job if no recovery is possible.

        found: (fault, steps, spurious_failures) of each rank.

        Raises DistcnnError on every rank if the last failed step has cost a rank before, if every rank has raised an
        exception, or if MPI calls fail again and again although no rank dies.
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
            why = "; a rank has died in this step before" if again else " on all ranks"
            raise mark_collective(DistcnnError(f"{found[rank][0]}{why}"), rank_number(self.comm, rank))
        if self.fault:
            self._kill_this_rank()

    def _kill_this_rank(self) -> None:
        """Kill this process, so that MPI reports its death to the other ranks."""
        time.sleep(0.1)  # Open MPI may lose output that was written just before
        os.kill(os.getpid(), signal.SIGKILL)
