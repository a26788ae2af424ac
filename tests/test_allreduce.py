"""The sum over ranks: the same bits by whatever messages, however ranks share the blocks."""

import numpy as np
import pytest

from distcnn.numerics.fixed_point import HEAD, LOSS, OVERFLOWS, SAMPLES, STOP
from distcnn.parallel import allreduce
from distcnn.parallel.allreduce import GradientAllreduce, buckets

OFFSETS = [HEAD, HEAD + 40, HEAD + 41, HEAD + 300, HEAD + 800]
LENGTH = HEAD + 1000


def contribution(rank: int) -> np.ndarray:
    """One rank's sums: gradients of all sizes up to the guard's limit, and the counters."""
    generator = np.random.Philox(key=rank).random_raw
    sums = generator(LENGTH).astype(np.int64) >> (generator(LENGTH) % 60 + 3).astype(np.int64)
    sums[:HEAD] = 0
    sums[[LOSS, SAMPLES, STOP]] = 123456789 + rank, 16 + rank, rank == 1
    return sums


def total(size: int) -> np.ndarray:
    return np.sum([contribution(rank) for rank in range(size)], axis=0)


@pytest.fixture
def small_buckets(monkeypatch):
    monkeypatch.setattr(allreduce, "BUCKET_BYTES", 8 * 200)


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("overlap", "idle"), [(None, None), (False, None), (True, None), (True, 0), (True, 1), (False, 1)]
)
def test_exact_totals(comm, small_buckets, overlap, idle):
    """Add up gradients of several steps, where rank `idle` has no block and so never calls `start`."""
    sums = np.zeros(LENGTH, np.int64)
    add_up = GradientAllreduce(comm, sums, OFFSETS, overlap=overlap)
    for _ in range(3):  # steps
        sums[:] = contribution(comm.rank)
        for offset in reversed(OFFSETS if comm.rank != idle else []):
            add_up.start(offset)
        add_up.finish()
        np.testing.assert_array_equal(sums, total(comm.size))


@pytest.mark.mpi
@pytest.mark.parametrize("overlap", [False, True])
def test_what_is_skipped_is_not_sent(comm, small_buckets, overlap):
    sums, skipped = np.zeros(LENGTH, np.int64), OFFSETS[3]
    add_up = GradientAllreduce(comm, sums, OFFSETS, overlap=overlap, skipped=skipped)
    for _ in range(2):  # steps
        sums[:] = contribution(comm.rank)
        sums[HEAD:skipped] = comm.rank  # would be added up
        for offset in reversed(OFFSETS[3:]):
            add_up.start(offset)
        add_up.finish()
        np.testing.assert_array_equal(sums[HEAD:skipped], comm.rank)
        np.testing.assert_array_equal(sums[:HEAD], total(comm.size)[:HEAD])
        np.testing.assert_array_equal(sums[skipped:], total(comm.size)[skipped:])


@pytest.mark.mpi
def test_nothing_that_is_not_final_travels(comm, small_buckets):
    sums = np.zeros(LENGTH, np.int64)
    add_up = GradientAllreduce(comm, sums, OFFSETS, overlap=True)
    for start, stop in zip(OFFSETS[::-1], [LENGTH, *OFFSETS[:0:-1]], strict=True):
        sums[start:stop] = 1
        add_up.start(start)
    assert len(add_up.requests) == 3
    sums[:HEAD] = 1
    add_up.finish()
    np.testing.assert_array_equal(sums, comm.size)


@pytest.mark.mpi
@pytest.mark.parametrize("overlap", [False, True])
def test_float32_totals_are_rounded_and_counts_exact(comm, small_buckets, overlap):
    sums = contribution(comm.rank)
    add_up = GradientAllreduce(comm, sums, OFFSETS, mode="float32", overlap=overlap)
    add_up.start(OFFSETS[3])
    add_up.finish()
    exact = total(comm.size)
    scale = np.sum([np.abs(contribution(rank)) for rank in range(comm.size)], axis=0)
    assert np.all(np.abs(sums - exact) <= scale * (comm.size * 2.0**-24))
    assert np.any(sums != exact)
    np.testing.assert_array_equal(sums[[SAMPLES, OVERFLOWS, STOP]], exact[[SAMPLES, OVERFLOWS, STOP]])


@pytest.mark.mpi
def test_float32_totals_out_of_range_count_as_overflows(comm):
    sums = np.zeros(LENGTH, np.int64)
    sums[-2:] = -(2**63) + 1, 2**63 - 1 if comm.rank == 0 else 0
    GradientAllreduce(comm, sums, OFFSETS, mode="float32").finish()
    assert sums[OVERFLOWS] == 2
    assert not sums[HEAD:].any()


@pytest.mark.parametrize(
    ("offsets", "length", "least", "borders"),
    [
        ([], 100, 10, [100]),
        ([8, 50, 90], 100, 10, [100, 90, 50]),
        ([8, 50, 95], 100, 10, [100, 50]),  # the last layer is too small for a message of its own
        ([8], 100, 10, [100]),  # the counters are always in the message of the first layer
        ([8, 20, 30], 100, 1000, [100]),
    ],
)
def test_buckets(offsets, length, least, borders):
    cut = buckets(offsets, length, least)
    assert [bucket.stop for bucket in cut] == borders
    assert [bucket.start for bucket in cut] == [*borders[1:], 0]
