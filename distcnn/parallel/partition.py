"""Which rank owns which blocks of a batch: a pure function, so that every rank knows it without asking."""


def block_range(positions: int, rank: int, size: int, group: int = 1) -> range:
    """Return the contiguous share of `positions` block positions that `rank` of `size` ranks owns.

    Positions are owned in whole groups, of which the last may be smaller. Shares differ by at most one group; with more
    ranks than groups, some are empty.
    """
    groups = -(-positions // group)
    first, last = groups * rank // size, groups * (rank + 1) // size
    return range(group * first, min(group * last, positions))
