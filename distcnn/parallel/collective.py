"""What ranks do together: every rank gets the same result or the same exception, so that none waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from distcnn import errors
from distcnn.parallel.comm import Comm

SHORTEST_PAUSE, LONGEST_PAUSE = 20e-6, 10e-3  # seconds between two looks of a waiting rank
LONGER = 1.03  # from one pause to the next, so that a rank wakes late by 3 % of its wait: each wait delays all others

T = TypeVar("T")


class CollectiveError(errors.DistcnnError):
    """An exception that is not distcnn's, raised by every rank together.

    cause: the exception; on other ranks than the one it happened on, one like it that could be sent.
    """

    def __init__(self, cause: BaseException):
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause


def on_root(comm: Comm, function: Callable[..., T], *arguments: Any) -> T:
    """Call `function(*arguments)` on rank 0; return its result, or raise its exception, on every rank.

    The other ranks sleep meanwhile. The result must pickle. An exception that is not distcnn's is the `cause` of a
    CollectiveError; if it is not Python's either, other ranks get a RuntimeError that names it in its place, for the
    exceptions of libraries often do not survive pickling.
    """
    if comm.rank > 0:
        barrier(comm)
        result, failure = comm.bcast(None)
        if failure:
            raise _rebuilt(failure)
        return result
    try:
        try:
            result = function(*arguments)
        finally:
            barrier(comm)
        comm.bcast((result, None))  # a result that does not pickle raises here, before anything is sent
        return result
    except (Exception, SystemExit) as error:
        comm.bcast((None, _portable(error)))
        raise mark_collective(error) from error.__cause__


def on_all(comm: Comm, function: Callable[..., T], *arguments: Any) -> T:
    """Call `function(*arguments)` on every rank and return its own result on each, once all have it.

    If some raise a UserError, every rank raises that of the lowest. Any other exception is the rank's own.
    """
    result: Any = None
    failure = None
    try:
        result = function(*arguments)
    except errors.UserError as error:
        failure = error
    barrier(comm)
    failures = comm.allgather(failure and _portable(failure))
    first = next((rank for rank, found in enumerate(failures) if found), None)
    if first is None:
        return result
    raise (
        mark_collective(failure, first)
        if failure and first == comm.rank
        else _rebuilt(failures[first], first)
    )


def barrier(comm: Comm) -> None:
    """Return when every rank has called this; sleep meanwhile, as MPI's own barrier keeps the core busy.

    So 7 ranks that wait for one to compile, on 2 cores, leave it a whole core.
    """
    sleep_until(comm.Ibarrier().Test)


def sleep_until(done: Callable[[], bool]) -> None:
    """Return when `done()` is true; look again and again, after longer and longer pauses."""
    pause = SHORTEST_PAUSE
    while not done():
        time.sleep(pause)
        pause = min(LONGER * pause, LONGEST_PAUSE)


def mark_collective(error: BaseException, rank: int = 0, remote: bool = False) -> errors.DistcnnError:
    """Return the exception to raise on every rank together, of which `world.run` then prints one message.

    It is `error` itself if that is a DistcnnError, otherwise a CollectiveError.

    error: what happened.
    rank: where it happened.
    remote: whether that is another rank than this one.
    """
    if not isinstance(error, errors.DistcnnError):
        error = CollectiveError(error)
    error.collective_rank, error.is_remote = rank, remote
    return error


def collective_rank(error: BaseException) -> int | None:
    """Return the rank on which a collective exception happened, None for one that other ranks do not know of."""
    return error.collective_rank if isinstance(error, errors.DistcnnError) else None


def is_remote(error: BaseException) -> bool:
    """Return whether the exception happened on another rank."""
    return isinstance(error, errors.DistcnnError) and error.is_remote


def _portable(error):
    """Return a class and arguments to make the exception from, where it may not unpickle itself."""
    if isinstance(error, CollectiveError):
        error = error.cause
    kind, arguments = error.__reduce__()[:2]
    plain = all(isinstance(argument, str | bytes | int | None) for argument in arguments)
    if plain and kind.__module__ in ("builtins", errors.__name__):
        return kind, arguments
    for kind in type(error).__mro__:
        if kind.__module__ == errors.__name__:
            return kind, (str(error),)
    return RuntimeError, (f"{type(error).__name__}: {error}",)


def _rebuilt(failure, rank=0):
    kind, arguments = failure
    return mark_collective(kind(*arguments), rank, remote=True)
