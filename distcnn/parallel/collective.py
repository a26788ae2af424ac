"""Calls that all ranks make together: every rank gets the same result or the same exception, so that none deadlocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from distcnn import errors
from distcnn.parallel.comm import Comm
from distcnn.system.user_files import as_user_error

SHORTEST_PAUSE, LONGEST_PAUSE = 20e-6, 10e-3  # seconds between two checks by a waiting rank
GROWTH = 1.03  # of the pauses, so that a rank wakes late by at most 3 % of its wait, which delays all ranks

T = TypeVar("T")
Portable = tuple[Callable[..., BaseException], tuple]


class CollectiveError(errors.DistcnnError):
    """Wraps an exception that is not distcnn's, where every rank raises it together.

    cause: the exception; on a rank on which it did not happen, a similar exception that could be sent.
    """

    def __init__(self, cause: BaseException):
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.cause = cause


def on_root(comm: Comm, function: Callable[..., T], *arguments: Any) -> T:
    """Call `function(*arguments)` on rank 0; return its result, or raise its exception, on every rank.

    The other ranks sleep meanwhile. The result must be picklable. An exception that is not distcnn's becomes the
    `cause` of a CollectiveError. If it is not one of Python's own, the other ranks get a RuntimeError that names it,
    because exceptions of libraries often cannot be unpickled.
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
        comm.bcast((result, None))  # a result that cannot be pickled raises here, before anything is sent
        return result
    except (Exception, SystemExit) as error:
        failure = as_user_error(error)
        comm.bcast((None, _portable(failure)))
        raise mark_collective(failure) from error.__cause__


def on_all(comm: Comm, function: Callable[..., T], *arguments: Any) -> T:
    """Call `function(*arguments)` on every rank; return each rank's own result, once all ranks have one.

    If some ranks raise a UserError, every rank raises that of the lowest of them. Any other exception is raised only on
    the rank on which it happens.
    """
    result: Any = None
    failure = None
    try:
        result = function(*arguments)
    except Exception as error:
        failure = as_user_error(error)
        if not isinstance(failure, errors.UserError):
            raise
    barrier(comm)
    failures = comm.allgather(failure and _portable(failure))
    first = next((rank for rank, found in enumerate(failures) if found), None)
    if first is None:
        return result
    if failure and first == comm.rank:
        raise mark_collective(failure, first)
    raise _rebuilt(failures[first], first)


def together(comm: Comm, function: Callable[..., T], *arguments: Any) -> T:
    """Call `function(*arguments)`, which is the user's, on every rank; return each rank's own result.

    If some ranks raise an exception, of any class, every rank raises one: its own if it has one, else that of the
    lowest of these ranks. An exception that is not distcnn's is wrapped in a CollectiveError.
    """
    result: Any = None
    failure: BaseException | None = None
    try:
        result = function(*arguments)
    except (Exception, SystemExit) as error:
        failure = error
    barrier(comm)
    failures = comm.allgather(failure and _portable(failure))
    first = next((rank for rank, found in enumerate(failures) if found), None)
    if first is None:
        return result
    if failure:
        raise mark_collective(failure, first, first != comm.rank) from failure.__cause__
    raise _rebuilt(failures[first], first)


def barrier(comm: Comm) -> None:
    """Wait until every rank has called this function; sleep meanwhile, because MPI's own barrier keeps the core busy.

    If 7 of 8 ranks on 2 cores wait for the one that compiles, that rank has a core to itself.
    """
    sleep_until(comm.Ibarrier().Test)


def sleep_until(done: Callable[[], bool]) -> None:
    """Wait until `done()` is true; call it again and again, after longer and longer pauses."""
    pause = SHORTEST_PAUSE
    while not done():
        time.sleep(pause)
        pause = min(GROWTH * pause, LONGEST_PAUSE)


def mark_collective(error: BaseException, rank: int = 0, remote: bool = False) -> errors.DistcnnError:
    """Return the exception that every rank shall raise, so that `world.run` prints its message once.

    The exception is `error` itself if that is a DistcnnError, otherwise a CollectiveError.

    error: the exception that was raised.
    rank: the rank on which it was raised.
    remote: whether that is another rank than this one.
    """
    if not isinstance(error, errors.DistcnnError):
        error = CollectiveError(error)
    error.collective_rank, error.is_remote = rank, remote
    return error


def marked(error: BaseException, like: errors.DistcnnError) -> BaseException:
    """Return an exception, which need not be distcnn's, after noting that all ranks raise it as they raise `like`."""
    vars(error).update(collective_rank=like.collective_rank, is_remote=like.is_remote)
    return error


def collective_rank(error: BaseException) -> int | None:
    """Return the rank on which a collective exception happened, or None if only this rank raises the exception."""
    return getattr(error, "collective_rank", None)


def is_remote(error: BaseException) -> bool:
    """Return whether the exception happened on another rank."""
    return getattr(error, "is_remote", False)


def _portable(error: BaseException) -> Portable:
    """Return a class and arguments from which another rank can make this exception or a similar one."""
    if isinstance(error, CollectiveError):
        error = error.cause
    reduced: Any = error.__reduce__()
    kind, arguments = reduced[:2]
    plain = all(isinstance(argument, str | bytes | int | None) for argument in arguments)
    if plain and kind.__module__ in ("builtins", errors.__name__):
        return kind, arguments
    for kind in type(error).__mro__:
        if kind.__module__ == errors.__name__:
            return kind, (str(error),)
    return RuntimeError, (f"{type(error).__name__}: {error}",)


def _rebuilt(failure: Portable, rank: int = 0) -> errors.DistcnnError:
    """Return the exception that another rank has made portable."""
    kind, arguments = failure
    return mark_collective(kind(*arguments), rank, remote=True)
