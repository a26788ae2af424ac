"""Pooling with a Gaussian window."""

import math
from dataclasses import dataclass

from distcnn.layers.base import check_positive
from distcnn.layers.pool2d import WeightedPool2D, inside
from distcnn.numerics import portable_math


@dataclass(frozen=True)
class GaussianPool2D(WeightedPool2D):
    """y = the mean of each window with weights exp(-d**2 / (2 sigma**2)), d from the window's centre.

    The weights are divided by their sum over the window's part inside the image, which like them is a product of one
    number for the rows and one for the columns. See Pool2D for the other arguments.
    """

    kernel_size: int | tuple[int, int]
    sigma: float
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    ceil_mode: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, sigma=self.sigma)

    def axis_weights(self, axis, size, start):
        """Return the weights, computed so that the nearest pixel has weight 1 before the division by their sum."""
        seen = inside(axis, size, start)
        distances = [j - (axis.kernel_size - 1) / 2 for j in range(axis.kernel_size)]
        squares = [distance * distance for distance in distances]
        least = min(squares[j] for j in seen)
        exponents = [(least - square) / self.sigma / self.sigma / 2 for square in squares]
        powers = [portable_math.exp(max(x, -700.0)) if j in seen else 0.0 for j, x in enumerate(exponents)]
        total = math.fsum(powers)
        return [power / total for power in powers]
