"""Collectives by messages between pairs of ranks give what MPI's give, and no rank waits for one that has revoked."""

import time

import numpy as np
import pytest

from distcnn.parallel import ulfm
from distcnn.parallel.collective import barrier
from distcnn.parallel.point_to_point import PointToPointComm


def everybody(comm, number=1):
    return PointToPointComm(comm, [*range(comm.size)], number)


@pytest.mark.mpi
def test_sums_and_copies_arrive_on_all_ranks(comm):
    ranks = everybody(comm)
    for shape, dtype in [((0,), np.int64), ((1,), np.uint8), ((3, 2), np.int32), ((70_001,), np.float32)]:
        array = np.full(shape, comm.rank + 1, dtype)
        ranks.Allreduce(None, array)
        assert (array == comm.size * (comm.size + 1) / 2).all()
        for root in range(comm.size):
            array = np.full(shape, comm.rank, dtype)
            ranks.Bcast(array, root)
            assert (array == root).all()
    barrier(ranks)


@pytest.mark.mpi(ranks=(2, 3))
def test_those_that_are_left_do_without_the_others(comm):
    if comm.rank:
        ranks = PointToPointComm(comm, [*range(1, comm.size)], 2)
        array = np.arange(5)
        request = ranks.Iallreduce(None, array)
        assert request.Wait()
        assert array.tolist() == [k * ranks.size for k in range(5)]
        assert (ranks.rank, ranks.size) == (comm.rank - 1, comm.size - 1)
    barrier(comm)


@pytest.mark.mpi(ranks=(2, 3))
def test_one_that_revokes_frees_who_waits_for_it(comm):
    from mpi4py import MPI

    ranks = everybody(comm)
    barrier(ranks)
    comm.Barrier()  # no rank is still in the other one
    if comm.rank == 0:
        ranks.Revoke()
    for _ in range(2):
        with pytest.raises(MPI.Exception):
            ranks.Allreduce(None, np.zeros(100_000))
    assert ranks.Is_revoked()
    after = everybody(comm, 2)  # what the first have left unfinished does not disturb the next
    array = np.ones(100_000)
    after.Allreduce(None, array)
    assert (array == comm.size).all()
    assert not after.Is_revoked()
    time.sleep(0.1)


@pytest.mark.mpi
def test_what_ranks_collect_under_ulfm_arrives(comm, monkeypatch):
    monkeypatch.setattr(ulfm, "MOST_BYTES", 1000)
    ranks = ulfm.UlfmComm(comm)
    values = [b"x" * (3000 * rank) for rank in range(comm.size)]
    own = values[comm.rank]
    assert ranks.allgather(own) == values
    assert ranks.gather(own) == (values if comm.rank == 0 else None)
    for root in range(comm.size):
        assert ranks.bcast(own if comm.rank == root else None, root) == values[root]
    assert ranks.rendezvous() == {*range(comm.size)}
