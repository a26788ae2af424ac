"""The partition of a batch's blocks among the ranks: a pure function, so that every rank knows it without a message."""


def block_range(positions: int, rank: int, size: int, group: int = 1) -> range:
    """Return the contiguous range of `positions` block positions that `rank` of `size` ranks computes.

    Ranges consist of whole groups of `group` positions; the last group may be smaller. The ranges of two ranks differ
    by at most one group; if there are more ranks than groups, some ranges are empty.
    """
    groups = -(-positions // group)
    first, last = groups * rank // size, groups * (rank + 1) // size
    return range(group * first, min(group * last, positions))
