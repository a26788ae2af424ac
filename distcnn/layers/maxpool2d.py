"""Maximum pooling."""

import math
from dataclasses import dataclass

from distcnn.kernels import max_pool as kernels
from distcnn.layers.base import LayerBuffers
from distcnn.layers.declarations import RELU, Call, Fusion, Shape
from distcnn.layers.pool2d import Pool2D
from distcnn.layers.window2d import Pair

CACHE = 2**22  # bytes; larger images do not fit into the caches of a core
MOST_AHEAD = 16  # pixels: with more for each window, nothing is prefetched


@dataclass(frozen=True)
class MaxPool2D(Pool2D):
    """y = the largest x of each window (PyTorch's MaxPool2d).

    Among equal values, the gradient goes to the first in row order. Padding is never the maximum. See Pool2D for the
    arguments.
    """

    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0
    ceil_mode: bool = False

    fusion = Fusion(backward=(RELU,))

    def gradient_over_input(self, shape: Shape) -> bool:
        return self.is_partition(shape)

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        kernel = kernels.max_pool_forward(*self.taps, self.is_whole(buffers.x.shape), self._ahead(buffers))
        return [(kernel, (buffers.x.inside, *self.axes, buffers.y.inside))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        if buffers.dx is None:
            return []
        whole, partition = self.is_whole(buffers.x.shape), self.is_partition(buffers.x.shape)
        kernel = kernels.max_pool_backward(*self.taps, whole, partition, buffers.mask, self._ahead(buffers))
        given = buffers.x.inside, buffers.y.inside, buffers.dy.inside, *self.axes
        return [(kernel, (*given, buffers.dx.inside))]

    def _ahead(self, buffers: LayerBuffers) -> int:
        """Return how many pixels to prefetch with each window; 0 if the images fit into a cache."""
        pixels = math.prod(axis.stride for axis in self.axes)
        return pixels if buffers.x.inside.nbytes > CACHE and pixels <= MOST_AHEAD else 0
