"""Arrays that ranks share: the same content everywhere, one copy, and nothing left behind."""

import os
from collections import namedtuple

import numpy as np
import pytest

from distcnn.errors import DataError
from distcnn.parallel import node, shared_memory
from distcnn.parallel.shared_memory import share

FIELDS = [((5, 1, 3, 3), np.uint8), ((5,), np.int32), ((0, 2), np.float32)]


def fill(images, labels, empty):
    images[...] = np.arange(45).reshape(5, 1, 3, 3)
    labels[...] = [4, 3, 2, 1, 0]


@pytest.fixture(autouse=True)
def memory(request, monkeypatch):
    """A folder that stands for the node's shared memory, to see what is left in it."""
    if "comm" in request.fixturenames:
        folder = request.getfixturevalue("shared_path")
        monkeypatch.setattr(shared_memory, "MEMORY", str(folder))
        return folder


@pytest.mark.mpi
def test_every_rank_sees_what_the_first_has_written(comm, memory):
    images, labels, empty = share(comm, FIELDS, fill)
    assert images.dtype == np.uint8
    assert images.tolist() == np.arange(45).reshape(5, 1, 3, 3).tolist()
    assert labels.tolist() == [4, 3, 2, 1, 0]
    assert empty.shape == (0, 2)
    assert os.listdir(memory) == []


@pytest.mark.mpi
def test_only_the_first_rank_of_the_node_reads(comm):
    calls = []
    share(comm, FIELDS, lambda *arrays: calls.append(comm.rank))
    assert comm.allgather(calls) == [[0]] + [[]] * (comm.size - 1)


@pytest.mark.mpi
def test_there_is_one_copy(comm):
    written = []
    [array] = share(comm, [((4,), np.int64)], written.append)
    if comm.rank == 0:
        np.ndarray(4, np.int64, written[0].base)[:] = 7
    comm.Barrier()
    assert array.tolist() == [7] * 4


@pytest.mark.mpi(ranks=(3,))
def test_nodes_with_one_and_with_several_ranks(comm, monkeypatch):
    monkeypatch.setattr(node, "_home", lambda: comm.rank == 0)
    calls = []
    [array] = share(comm, [((2,), np.int32)], lambda array: (calls.append(1), array.fill(3)))
    assert array.tolist() == [3, 3]
    assert comm.allgather(len(calls)) == [1, 1, 0]


@pytest.mark.mpi
def test_arrays_are_read_only(comm):
    for array in share(comm, FIELDS, fill):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.mpi
def test_a_failure_to_fill_reaches_all_ranks_and_leaves_nothing(comm, memory):
    def fail(*arrays):
        raise DataError("labels out of range")

    with pytest.raises(DataError, match="labels out of range"):
        share(comm, FIELDS, fail)
    assert os.listdir(memory) == []


@pytest.mark.mpi(ranks=(2, 3))
def test_too_little_memory_is_said_on_all_ranks(comm, memory, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda path: usage(2**20, 0, 2**20))
    with pytest.raises(DataError, match=r"1 MiB free, but the data need 4096 MiB"):
        share(comm, [((2**32,), np.uint8)], fill)
    assert os.listdir(memory) == []


@pytest.mark.mpi(ranks=(2,))
def test_memory_that_cannot_be_had_is_said_on_all_ranks(comm, memory, monkeypatch):
    def fail(descriptor, start, length):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_memory.os, "posix_fallocate", fail)
    with pytest.raises(DataError, match="No space left"):
        share(comm, FIELDS, fill)
    assert os.listdir(memory) == []
