"""Pooling with a Gaussian window."""

import math
from dataclasses import dataclass

from distcnn import scalars
from distcnn.layers.base import check_positive
from distcnn.layers.pool2d import WeightedPool2D


@dataclass(frozen=True)
class GaussianPool2D(WeightedPool2D):
    """y = the mean of each window with weights exp(-d**2 / (2 sigma**2)), d from the window's centre.

    The weights are divided by their sum over the window's part inside the image, which like them is a product of one
    number for the rows and one for the columns. See Pool2D for the other arguments.
    """

    kernel_size: int
    sigma: float
    stride: int | None = None
    padding: int = 0
    ceil_mode: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, sigma=self.sigma)

    def axis_weights(self, size, starts):
        return [self._normalised(self.inside(start, size)) for start in starts]

    def _normalised(self, inside):
        """Return the weights along an axis, computed so that the nearest pixel has weight 1 before the division."""
        distances = [j - (self.kernel_size - 1) / 2 for j in range(self.kernel_size)]
        squares = [distance * distance for distance in distances]
        least = min(squares[j] for j in inside)
        exponents = [(least - square) / self.sigma / self.sigma / 2 for square in squares]
        powers = [scalars.exp(max(x, -700.0)) if j in inside else 0.0 for j, x in enumerate(exponents)]
        total = math.fsum(powers)
        return [power / total for power in powers]
