"""The logistic function."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.base import Layer


@dataclass(frozen=True)
class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)). Any shape."""

    gradient_in_place = True

    def output_shape(self, shape):
        return shape

    def forward(self, wiring):
        return [(kernels.sigmoid_forward, (wiring.x.rows, wiring.y.rows))]

    def backward(self, wiring):
        if wiring.dx is None:
            return []
        return [(kernels.sigmoid_backward, (wiring.y.rows, wiring.dy.rows, wiring.dx.rows))]
