"""Notice files that change between the first look at them and the end of reading.

What is read then may be a mix of old and new samples, or zeros, which HDF5 gives beyond the end of a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from distcnn.errors import DataError

State = tuple[int, int, int] | None  # inode, size and time stamp of a file; None if there is no such file
States = dict[str, State]  # by path


def state_of(path: str) -> State:
    """Return the state of a file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a null character in the path
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def states_of(paths: Iterable[str]) -> States:
    """Return the states of files."""
    return {path: state_of(path) for path in paths}


def states_on(rank: int, states: States) -> States:
    """Return what a rank compares with later: on rank 0, which has looked at the files, the states that it saw.

    Other ranks may have copies of the files, with other time stamps: they take the states of now.
    """
    return states if rank == 0 else states_of(states)


def require_unchanged(states: States, done: str = "read: start again") -> None:
    """Raise DataError if a file is not as it was; done: words of the message, what is done with it and the remedy."""
    for path, state in states.items():
        if state_of(path) != state:
            raise DataError(f"{path} has changed while it was {done} when nobody writes it")


@contextmanager
def unchanged(states: States) -> Iterator[None]:
    """Raise DataError at the end of a block, or in place of another exception, if a file is not as it was.

    states: of the files before the block; others may be added in it.
    """
    try:
        yield
    except Exception as error:
        try:
            require_unchanged(states)
        except DataError as change:
            raise change from error
        raise
    require_unchanged(states)
