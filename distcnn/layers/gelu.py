"""The Gaussian error linear unit."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.base import Layer


@dataclass(frozen=True)
class GELU(Layer):
    """y = x P(x), P the normal distribution's function (Hendrycks and Gimpel 2016; as in PyTorch). Any shape."""

    gradient_in_place = True

    def output_shape(self, shape):
        return shape

    def forward(self, wiring):
        return [(kernels.gelu_forward, (wiring.x.rows, wiring.y.rows))]

    def backward(self, wiring):
        if wiring.dx is None:
            return []
        return [(kernels.gelu_backward, (wiring.x.rows, wiring.dy.rows, wiring.dx.rows))]
