"""Pooling with a Gaussian window."""

import math
from dataclasses import dataclass

from distcnn.kernels.axis import Axis
from distcnn.layers.checks import check_positive
from distcnn.layers.pool2d import WeightedPool2D, inside
from distcnn.layers.window2d import Pair
from distcnn.numerics import portable_math


@dataclass(frozen=True)
class GaussianPool2D(WeightedPool2D):
    """y = the mean of each window with weights exp(-d**2 / (2 sigma**2)), d from the window's center.

    The weights are divided by their sum over the pixels of the window inside the image. This sum, like each weight, is
    the product of one number for the rows and one for the columns. See Pool2D for the other arguments.

    sigma: the standard deviation of the window, in pixels.
    """

    kernel_size: Pair
    sigma: float
    stride: Pair | None = None
    padding: Pair = 0
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, sigma=self.sigma)

    def axis_weights(self, axis: Axis, size: int, start: int) -> list[float]:
        """Return the weights along one axis; before the division by their sum, the largest is 1, to avoid underflow."""
        seen = inside(axis, size, start)
        distances = [j - (axis.kernel_size - 1) / 2 for j in range(axis.kernel_size)]
        squares = [distance * distance for distance in distances]
        least = min(squares[j] for j in seen)
        exponents = [(least - square) / self.sigma / self.sigma / 2 for square in squares]
        powers = [portable_math.exp(max(x, -700.0)) if j in seen else 0.0 for j, x in enumerate(exponents)]
        total = math.fsum(powers)
        return [power / total for power in powers]
