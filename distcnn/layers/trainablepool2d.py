"""Trainable pooling: the subsampling layers of LeNet-5."""

import math
from dataclasses import dataclass

from distcnn.kernels import convolution, tile_sizes
from distcnn.kernels import weighted_pool as kernels
from distcnn.kernels.axis import Axis
from distcnn.layers.base import LayerBuffers
from distcnn.layers.declarations import Call, Parameter, Shape
from distcnn.layers.pool2d import WeightedPool2D
from distcnn.layers.window2d import Pair


@dataclass(frozen=True)
class TrainablePool2D(WeightedPool2D):
    """y[c] = coefficient[c] * the sum of each window + bias[c] (LeCun et al. 1998); see Pool2D for the arguments.

    coefficient: (c,), starts at 1 / (pixels of a window), so that the layer starts as mean pooling.
    bias: (c,), starts at 0.
    """

    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0
    ceil_mode: bool = False

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        mean = 1.0 / math.prod(self.taps)
        return {"coefficient": Parameter(shape[:1], start=mean), "bias": Parameter(shape[:1])}

    def axis_weights(self, axis: Axis, size: int, start: int) -> list[float]:
        return [1.0] * axis.kernel_size

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return super().forward(buffers, buffers.parameters["coefficient"], buffers.parameters["bias"])

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        x, dy, sums, guard = buffers.x.inside, buffers.dy.inside, buffers.sums, buffers.guard
        arrays = x, dy, *self.tables(buffers.x.shape), *self.axes, sums["coefficient"], guard
        factor = kernels.window_backward_factor(*self.taps), arrays
        bias = convolution.bias_gradient(tile_sizes.sums(dy.shape[1])), (dy, sums["bias"], guard)
        of_parameters = [] if buffers.frozen else [factor, bias]
        return [*of_parameters, *super().backward(buffers, buffers.parameters["coefficient"])]
