"""Exact sums: numbers held as int64 multiples of 2**-36, so that adding them is associative.

One flat int64 buffer holds what a step adds up over blocks and ranks: a head of `HEAD` slots, then every
parameter's gradient in declaration order. Integer addition has no order, so neither the number of ranks nor
MPI's algorithm can change a bit of the total.
"""

SUM_BITS = 36  # a quantum of 1.5e-11 is five orders finer than a weight's own rounding
QUANTUM = 2.0**-SUM_BITS
RANGE_BITS = 27  # a batch's total stays below 2**27 in magnitude, or an overflow is flagged

# Slots of the head: three exact sums (neighbours, for the loss kernel adds them at once) and two plain counts.
LOSS, CORRECT, SAMPLES, OVERFLOWS, STOP = range(5)
HEAD = 8  # whole cache lines, so that the gradients stay aligned


def block_limit(blocks: int) -> int:
    """Return what a single block's value must stay below, so that the sum over `blocks` blocks cannot wrap."""
    return 2**RANGE_BITS // max(blocks, 1)
