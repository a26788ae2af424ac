"""Which rank computes which blocks of a batch: a pure function, so that every rank knows it without a message."""


def block_range(positions: int, rank: int, size: int, group: int = 1) -> range:
    """Return the contiguous range of `positions` block positions that `rank` of `size` ranks computes.

    Ranges consist of whole groups of `group` positions, of which the last may be smaller. They differ by at most one
    group; with more ranks than groups, some are empty.
    """
    groups = -(-positions // group)
    first, last = groups * rank // size, groups * (rank + 1) // size
    return range(group * first, min(group * last, positions))
