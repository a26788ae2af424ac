"""Ranks share all blocks of a batch: each block belongs to one rank, in order."""

import pytest

from distcnn.parallel.partition import block_range


@pytest.mark.parametrize(
    ("positions", "size"), [(8, 1), (8, 2), (8, 3), (8, 8), (1, 3), (0, 2), (7, 5), (625, 64)]
)
def test_shares_cover_the_batch_and_differ_by_one_at_most(positions, size):
    shares = [block_range(positions, rank, size) for rank in range(size)]
    assert [block for share in shares for block in share] == list(range(positions))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("positions", "group", "size"), [(8, 2, 3), (9, 4, 3), (9, 4, 2), (7, 7, 1), (10, 3, 7)]
)
def test_groups_stay_whole(positions, group, size):
    shares = [block_range(positions, rank, size, group) for rank in range(size)]
    assert [block for share in shares for block in share] == list(range(positions))
    assert all(share.start % group == 0 for share in shares if share)
