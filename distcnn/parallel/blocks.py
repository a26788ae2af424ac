"""Which rank owns which blocks of a batch: a pure function, so that every rank knows it without asking."""


def owned(positions: int, rank: int, size: int) -> range:
    """Return the contiguous share of `positions` block positions that `rank` of `size` ranks owns.

    Shares differ by at most one position; with more ranks than positions, some are empty.
    """
    return range(positions * rank // size, positions * (rank + 1) // size)
