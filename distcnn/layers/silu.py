"""The sigmoid linear unit."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.base import Layer


@dataclass(frozen=True)
class SiLU(Layer):
    """y = x / (1 + exp(-x)) (PyTorch's SiLU, also known as swish). Any shape."""

    gradient_in_place = True

    def output_shape(self, shape):
        return shape

    def forward(self, wiring):
        return [(kernels.silu_forward, (wiring.x.rows, wiring.y.rows))]

    def backward(self, wiring):
        if wiring.dx is None:
            return []
        return [(kernels.silu_backward, (wiring.x.rows, wiring.dy.rows, wiring.dx.rows))]
