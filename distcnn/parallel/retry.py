"""The loop that repeats work after a rank failure: all ranks agree on how an attempt has ended, and on what follows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, TypeVar

from distcnn.errors import DistcnnError
from distcnn.parallel.collective import collective_rank, mark_collective
from distcnn.parallel.comm import Comm
from distcnn.parallel.ulfm import UlfmComm, failures

MAX_SPURIOUS_FAILURES = 3  # MPI errors in a row without a failed rank

T = TypeVar("T")


class Outcome(Enum):
    """How all ranks together have ended an attempt; the same on every rank.

    ENDED: every rank has returned, or every rank has raised the same exception.
    RANK_FAILURE: a rank has died, or MPI has failed on some rank.
    FAULT: a rank has raised an exception that the others do not know of.
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
    """Return `work()`, or raise its exception, called again as often as there is something to recover from.

    work: does no harm when it is done twice.
    recover: recover(outcome, error) gets what this rank has raised in the last attempt, or None. It returns what the
        next attempt begins with, a failure of which counts as a failure of the attempt; or None to end.
    before_agreement: called with the same error before this rank waits for the others.
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
    """Return how all ranks have ended an attempt, when every rank has; error: what this rank has raised, or None.

    Without fault tolerance no rank waits: an exception of one rank ends the job.
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
    """Return `function(*arguments)`, or raise what it raises on all ranks together, when all ranks have ended it.

    If some ranks die meanwhile, the others call it again: so it must do no harm when it is done twice. An exception
    of one rank alone ends the job: the others raise an MPI.Exception.
    """
    return retry(comm, lambda: function(*arguments), _Shrinking(comm).recover)


class _Shrinking:
    """Recovery of work that leaves nothing behind: leave out the failed ranks, and begin again."""

    def __init__(self, comm: Comm):
        self.comm, self.spurious_failures = comm, 0

    def recover(self, outcome, error):
        if outcome is Outcome.FAULT:
            raise error or _revoked()
        return self._shrink if outcome is Outcome.RANK_FAILURE else None

    def _shrink(self):
        failed = self.comm.shrink()
        self.spurious_failures = 0 if failed else self.spurious_failures + 1
        if self.spurious_failures > MAX_SPURIOUS_FAILURES:
            raise mark_collective(too_many(self.spurious_failures))
        if failed and self.comm.rank == 0:
            words = self.comm.failure_message(failed, "before training")
            print(f"distcnn: warning: {words}", file=sys.stderr, flush=True)


def too_many(spurious_failures: int) -> DistcnnError:
    """Return the exception that ends a job in which MPI fails again and again, but no rank has died."""
    return DistcnnError(f"MPI failed {spurious_failures} times in a row, but no rank has died")


def _revoked():
    from mpi4py import MPI

    return MPI.Exception(MPI.ERR_REVOKED)
