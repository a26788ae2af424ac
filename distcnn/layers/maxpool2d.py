"""Maximum pooling."""

import math
from dataclasses import dataclass

from distcnn.kernels import max_pool as kernels
from distcnn.layers.pool2d import Pool2D

CACHE = 2**22  # bytes: images larger than this lie in no cache of a core
MOST_AHEAD = 16  # pixels


@dataclass(frozen=True)
class MaxPool2D(Pool2D):
    """y = the largest x of each window; ties go to the first in row order (PyTorch's MaxPool2d).

    See Pool2D for the arguments; padding is never the maximum.
    """

    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    ceil_mode: bool = False

    applies_mask = True

    def gradient_over_input(self, shape):
        return self.is_partition(shape)

    def forward(self, buffers):
        kernel = kernels.max_pool_forward(*self.taps, self.is_whole(buffers.x.shape), self._ahead(buffers))
        return [(kernel, (buffers.x.inside, *self.axes, buffers.y.inside))]

    def backward(self, buffers):
        if buffers.dx is None:
            return []
        whole, partition = self.is_whole(buffers.x.shape), self.is_partition(buffers.x.shape)
        kernel = kernels.max_pool_backward(*self.taps, whole, partition, buffers.mask, self._ahead(buffers))
        given = buffers.x.inside, buffers.y.inside, buffers.dy.inside, *self.axes
        return [(kernel, (*given, buffers.dx.inside))]

    def _ahead(self, buffers):
        """Return how many pixels are to be read ahead for each window: so many as there are for each, if few."""
        pixels = math.prod(axis.stride for axis in self.axes)
        return pixels if buffers.x.inside.nbytes > CACHE and pixels <= MOST_AHEAD else 0
