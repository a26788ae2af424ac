"""Mean pooling: over windows, and over whole images."""

from dataclasses import dataclass

from distcnn.kernels import weighted_pool as kernels
from distcnn.layers.base import Layer, check_image, check_yes_or_no
from distcnn.layers.pool2d import WeightedPool2D, inside


@dataclass(frozen=True)
class MeanPool2D(WeightedPool2D):
    """y = the mean of each window (PyTorch's AvgPool2d); see Pool2D for the arguments.

    count_include_pad: a mean counts the zeros of the padding too, but not what ceil_mode adds beyond it.
    """

    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_yes_or_no(self, count_include_pad=self.count_include_pad)

    def axis_weights(self, axis, size, start):
        counted = len(inside(axis, size, start))
        if self.count_include_pad:
            counted = min(axis.kernel_size, size + axis.padding - start)
        return [1.0 / counted] * axis.kernel_size


@dataclass(frozen=True)
class GlobalMeanPool2D(Layer):
    """y = the mean of each channel: (c, h, w) -> (c, 1, 1) (PyTorch's AdaptiveAvgPool2d(1))."""

    def output_shape(self, shape):
        return check_image(self, shape)[0], 1, 1

    def flops(self, shape):
        c, h, w = shape
        return c * h * w

    def forward(self, buffers):
        return [(kernels.global_mean_forward, (buffers.x.inside, _share(buffers), buffers.y.inside))]

    def backward(self, buffers):
        if buffers.dx is None:
            return []
        return [(kernels.global_mean_backward, (buffers.dy.inside, _share(buffers), buffers.dx.inside))]


def _share(buffers):
    return 1.0 / (buffers.x.shape[1] * buffers.x.shape[2])
