"""The loop that repeats work after a rank failure; all ranks agree on the outcome of each attempt."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, TypeVar

from distcnn.errors import DistcnnError
from distcnn.parallel.collective import collective_rank, mark_collective
from distcnn.parallel.comm import Comm
from distcnn.parallel.ulfm import UlfmComm, failures
from distcnn.system.terminal_text import warn

MAX_SPURIOUS_FAILURES = 3  # MPI errors in a row without a failed rank

T = TypeVar("T")


class Outcome(Enum):
    """The outcome of an attempt; the same on every rank.

    ENDED: every rank has returned, or every rank has raised the same exception.
    RANK_FAILURE: a rank has died, or an MPI call has failed on some rank.
    FAULT: some rank has raised an exception that the other ranks do not raise.
    """

    ENDED = auto()
    RANK_FAILURE = auto()
    FAULT = auto()


def retry(
    comm: Comm,
    work: Callable[[], T],
    recover: Callable[[Outcome, BaseException | None], Callable[[], None] | None],
    before_agreement: Callable[[BaseException | None], None] = lambda error: None,
) -> T:
    """Call `work()` until an attempt needs no recovery; return its result, or raise its exception.

    work: must have the same effect when it is repeated.
    recover: recover(outcome, error) returns a function that the next attempt calls before `work`, or None if
        there shall be no further attempt. The error is the exception that this rank has raised in the last attempt, or
        None. If the returned function fails, the attempt has failed.
    before_agreement: before_agreement(error) is called at the end of an attempt, before this rank waits for the others.
    """
    repair = None
    while True:
        result: Any = None
        error: BaseException | None = None
        try:
            if repair:
                repair()
            result = work()
        except (Exception, SystemExit) as raised:
            error = raised
        before_agreement(error)
        repair = recover(agree_on_outcome(comm, error), error)
        if repair is None:
            if error:
                raise error
            return result


def agree_on_outcome(comm: Comm, error: BaseException | None) -> Outcome:
    """Wait until every rank has ended its attempt, and return the outcome; error: this rank's exception, or None.

    Without fault tolerance no rank waits: an exception on one rank ends the job.
    """
    if not isinstance(comm, UlfmComm):
        return Outcome.ENDED
    known = error is None or collective_rank(error) is not None
    if not known:
        comm.Revoke()
    ended, sound = comm.agree(known, sound=known or isinstance(error, failures(comm)))
    if ended:
        return Outcome.ENDED
    return Outcome.RANK_FAILURE if sound else Outcome.FAULT


def retry_on_rank_failure(comm: Comm, function: Callable[..., T], *arguments: Any) -> T:
    """Call `function(*arguments)` on all ranks; return its result, or raise the exception that all raise together.

    If ranks die meanwhile, the remaining ranks call it again, so it must have the same effect when it is repeated. An
    exception on only one rank ends the job: the other ranks raise an MPI.Exception.
    """
    return retry(comm, lambda: function(*arguments), _Shrinking(comm).recover)


class _Shrinking:
    """Recovery for work that leaves nothing behind: removes the failed ranks, so that the others begin again."""

    def __init__(self, comm: Comm):
        self.comm, self.spurious_failures = comm, 0

    def recover(self, outcome: Outcome, error: BaseException | None) -> Callable[[], None] | None:
        """Return what the next attempt begins with, or None to end; see `retry`."""
        if outcome is Outcome.FAULT:
            raise error or _revoked()
        return self._shrink if outcome is Outcome.RANK_FAILURE else None

    def _shrink(self) -> None:
        """Remove the failed ranks from the communicator; rank 0 prints a warning."""
        assert isinstance(self.comm, UlfmComm)  # no other communicator has ranks that fail
        failed = self.comm.shrink()
        self.spurious_failures = 0 if failed else self.spurious_failures + 1
        if self.spurious_failures > MAX_SPURIOUS_FAILURES:
            raise mark_collective(too_many(self.spurious_failures))
        if failed and self.comm.rank == 0:
            message = self.comm.failure_message(failed, "before training")
            warn(message)


def too_many(spurious_failures: int) -> DistcnnError:
    """Return the exception that ends a job in which MPI calls fail again and again although no rank has died."""
    return DistcnnError(f"MPI failed {spurious_failures} times in a row, but no rank has died")


def _revoked() -> Exception:
    """Return the exception of calls on a revoked communicator."""
    from mpi4py import MPI

    return MPI.Exception(MPI.ERR_REVOKED)
