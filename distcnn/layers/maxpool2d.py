"""Maximum pooling."""

from dataclasses import dataclass

from distcnn.kernels import pooling as kernels
from distcnn.layers.pool2d import Pool2D


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

    def forward(self, wiring):
        kernel = kernels.max_pool_forward(*self.taps, self.is_whole(wiring.x.shape))
        return [(kernel, (wiring.x.inside, *self.axes, wiring.y.inside))]

    def backward(self, wiring):
        if wiring.dx is None:
            return []
        shape = wiring.x.shape
        kernel = kernels.max_pool_backward(
            *self.taps, self.is_whole(shape), self.is_partition(shape), wiring.mask
        )
        arrays = wiring.x.inside, wiring.y.inside, wiring.dy.inside, *self.axes, wiring.dx.inside
        return [(kernel, arrays)]
