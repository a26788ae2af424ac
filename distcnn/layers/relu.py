"""The rectified linear unit."""

from dataclasses import dataclass

from distcnn.kernels import pointwise as kernels
from distcnn.layers.base import Layer


@dataclass(frozen=True)
class ReLU(Layer):
    """y = max(x, 0); the derivative at 0 is 0. Any shape."""

    gradient_in_place = True

    def output_shape(self, shape):
        return shape

    def forward(self, wiring):
        return [(kernels.relu_forward, (wiring.x.rows, wiring.y.rows))]

    def backward(self, wiring):
        if wiring.dx is None:
            return []
        return [(kernels.relu_backward, (wiring.y.rows, wiring.dy.rows, wiring.dx.rows))]
