"""Ranks get the same result or the same exception, and sleep while they wait for each other."""

import re
import time

import pytest

from distcnn.errors import CheckpointError, DataError
from distcnn.parallel.collective import (
    CollectiveError,
    barrier,
    collective_rank,
    is_remote,
    on_all,
    on_root,
)


class OwnDataError(DataError):
    """An error whose constructor takes something else than its message, so that it cannot be unpickled."""

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")


class LibraryError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class Local:
    def __repr__(self):
        return "something local"

    def __reduce__(self):
        raise TypeError("cannot pickle this")


RAISED = {  # what happens on rank 0: what rank 0 raises, what the others raise
    "user error": (DataError("no file"), DataError),
    "user error that does not pickle": (OwnDataError("a.h5", "is empty"), DataError),
    "exit": (SystemExit(0), SystemExit),
    "key": (KeyError("k"), KeyError),
    "several arguments": (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), UnicodeDecodeError),
    "path": (FileNotFoundError(2, "No such file", "a.h5"), FileNotFoundError),
    "of a library": (LibraryError(1, 2), RuntimeError),
    "argument that does not pickle": (ValueError(Local()), RuntimeError),
}


def cause(error):
    """Return what was raised; on_root wraps what is not distcnn's."""
    return error.cause if isinstance(error, CollectiveError) else error


@pytest.mark.mpi
def test_on_root_gives_all_ranks_the_result_of_rank_0(comm):
    assert on_root(comm, lambda: {"rank": comm.rank}) == {"rank": 0}


@pytest.mark.mpi(ranks=(1, 3))
@pytest.mark.parametrize("name", RAISED)
def test_on_root_raises_on_all_ranks(comm, name):
    error, elsewhere = RAISED[name]

    def fail():
        raise error

    kind = type(error) if comm.rank == 0 else elsewhere
    with pytest.raises((DataError, CollectiveError)) as caught:
        on_root(comm, fail)
    found = cause(caught.value)
    assert type(found) is kind
    assert re.search(re.escape(str(error)), str(found))
    assert collective_rank(caught.value) == 0
    assert is_remote(caught.value) == (comm.rank > 0)


@pytest.mark.mpi(ranks=(2, 3))
def test_on_root_raises_when_the_result_does_not_pickle(comm):
    with pytest.raises(CollectiveError, match="cannot pickle") as caught:
        on_root(comm, Local)
    assert type(caught.value.cause) is TypeError


@pytest.mark.mpi
def test_exit_code_arrives(comm):
    with pytest.raises(CollectiveError) as caught:
        on_root(comm, lambda: exit(5))
    assert type(caught.value.cause) is SystemExit
    assert caught.value.cause.code == 5


@pytest.mark.mpi
def test_on_all_gives_each_rank_its_own_result(comm):
    assert on_all(comm, lambda: comm.rank) == comm.rank


@pytest.mark.mpi(ranks=(3,))
def test_on_all_raises_the_lowest_ranks_error_everywhere(comm):
    def fail():
        if comm.rank == 1:
            raise CheckpointError("of rank 1")
        if comm.rank == 2:
            raise DataError("of rank 2")

    with pytest.raises(CheckpointError, match="of rank 1") as caught:
        on_all(comm, fail)
    assert collective_rank(caught.value) == 1
    assert is_remote(caught.value) == (comm.rank != 1)


@pytest.mark.mpi
def test_ranks_agree_again_after_an_error(comm):
    def fail():
        raise DataError("first")

    for together in (on_root, on_all):
        with pytest.raises(DataError):
            together(comm, fail)
    assert comm.allgather(comm.rank) == list(range(comm.size))


@pytest.mark.mpi(ranks=(2, 3))
def test_waiting_ranks_sleep(comm):
    begun = time.process_time()
    if comm.rank == 0:
        time.sleep(0.5)
    barrier(comm)
    assert time.process_time() - begun < 0.25  # of 0.5 s: MPI's own barrier takes them all
