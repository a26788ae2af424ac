"""The guard of exact sums: the limit that keeps them from wrapping around."""

import numpy as np

from distcnn.numerics.fixed_point import block_limit


class OverflowGuard:
    """The limit of what a block may add to exact sums, and how many values were refused.

    array: int64 [limit, count of refused values], the argument of kernels, see distcnn.lanes.sums.
    """

    def __init__(self) -> None:
        self.array = np.array([block_limit(1), 0], np.int64)

    @property
    def limit(self) -> int:
        """What the value of a block must stay below."""
        return int(self.array[0])

    @property
    def overflows(self) -> int:
        """How many values were refused because they were NaN or not below the limit."""
        return int(self.array[1])

    def reset(self, blocks: int) -> None:
        """Set the limit for a batch of so many blocks, and the count to 0."""
        self.array[:] = block_limit(blocks), 0
