"""Mean pooling: over windows, and over whole images."""

from dataclasses import dataclass

from distcnn.kernels import weighted_pool as kernels
from distcnn.kernels.axis import Axis
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.checks import check_image, check_yes_or_no
from distcnn.layers.declarations import Call, Shape
from distcnn.layers.pool2d import WeightedPool2D, inside
from distcnn.layers.window2d import Pair


@dataclass(frozen=True)
class MeanPool2D(WeightedPool2D):
    """y = the mean of each window (PyTorch's AvgPool2d); see Pool2D for the other arguments.

    count_include_pad: whether a mean counts the zeros of the padding, too. Pixels beyond the padding, which ceil_mode
        can add to a window, never count.
    """

    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_yes_or_no(self, count_include_pad=self.count_include_pad)

    def axis_weights(self, axis: Axis, size: int, start: int) -> list[float]:
        counted = len(inside(axis, size, start))
        if self.count_include_pad:
            counted = min(axis.kernel_size, size + axis.padding - start)
        return [1.0 / counted] * axis.kernel_size


@dataclass(frozen=True)
class GlobalMeanPool2D(Layer):
    """y = the mean of each channel: (c, h, w) -> (c, 1, 1) (PyTorch's AdaptiveAvgPool2d(1))."""

    def output_shape(self, shape: Shape) -> Shape:
        return check_image(self, shape)[0], 1, 1

    def flops(self, shape: Shape) -> int:
        c, h, w = shape
        return c * h * w

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return [(kernels.global_mean_forward, (buffers.x.inside, _share(buffers), buffers.y.inside))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        if buffers.dx is None:
            return []
        return [(kernels.global_mean_backward, (buffers.dy.inside, _share(buffers), buffers.dx.inside))]


def _share(buffers: LayerBuffers) -> float:
    """Return the weight of a pixel in the mean."""
    return 1.0 / (buffers.x.shape[1] * buffers.x.shape[2])
