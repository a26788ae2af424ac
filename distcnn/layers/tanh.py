"""The hyperbolic tangent."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.base import Layer, check_positive


@dataclass(frozen=True)
class Tanh(Layer):
    """y = amplitude * tanh(slope * x). Any shape. LeCun et al. 1998: 1.7159 and 2/3, so that f(1) = 1."""

    amplitude: float = 1.0
    slope: float = 1.0

    gradient_in_place = True

    def __post_init__(self):
        check_positive(self, amplitude=self.amplitude, slope=self.slope)

    def output_shape(self, shape):
        return shape

    def forward(self, buffers):
        return [(kernels.tanh_forward, (buffers.x.rows, self.amplitude, self.slope, buffers.y.rows))]

    def backward(self, buffers):
        if buffers.dx is None:
            return []
        square, steepest = self.slope / self.amplitude, self.slope * self.amplitude
        arrays = buffers.y.rows, buffers.dy.rows, square, steepest, buffers.dx.rows
        return [(kernels.tanh_backward, arrays)]
