"""The hyperbolic tangent."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.checks import check_positive
from distcnn.layers.declarations import Call, MemoryUse, Shape


@dataclass(frozen=True)
class Tanh(Layer):
    """y = amplitude * tanh(slope * x). Any shape. LeCun et al. 1998: 1.7159 and 2/3, so that f(1) = 1."""

    amplitude: float = 1.0
    slope: float = 1.0

    memory = MemoryUse(dx_is_dy=True)

    def __post_init__(self) -> None:
        check_positive(self, amplitude=self.amplitude, slope=self.slope)

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return [(kernels.tanh_forward, (buffers.x.rows, self.amplitude, self.slope, buffers.y.rows))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        if buffers.dx is None:
            return []
        square, steepest = self.slope / self.amplitude, self.slope * self.amplitude
        arrays = buffers.y.rows, buffers.dy.rows, square, steepest, buffers.dx.rows
        return [(kernels.tanh_backward, arrays)]
