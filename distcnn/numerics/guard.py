"""The overflow guard of exact sums: the limit for single values that prevents a sum from wrapping around."""

import numpy as np

from distcnn.numerics.fixed_point import block_limit


class OverflowGuard:
    """The limit for values that a block adds to exact sums, and how many values exceeded it.

    Kernels replace values that are NaN or not below the limit by 0, and count them, see distcnn.lanes.sums.

    array: int64 [limit, count], in the form that kernels read and write.
    """

    def __init__(self) -> None:
        self.array = np.array([block_limit(1), 0], np.int64)

    @property
    def limit(self) -> int:
        """The limit; the magnitude of each value must be below it."""
        return int(self.array[0])

    @property
    def overflows(self) -> int:
        """How many values were replaced by 0 because they were NaN or not below the limit."""
        return int(self.array[1])

    def reset(self, blocks: int) -> None:
        """Set the limit for a batch of `blocks` blocks, and set the count to 0."""
        self.array[:] = block_limit(blocks), 0
