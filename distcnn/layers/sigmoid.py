"""The logistic function."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.elementwise import Elementwise


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """y = 1 / (1 + exp(-x)). Any shape."""

    forward_kernel, backward_kernel = kernels.sigmoid_forward, kernels.sigmoid_backward
    from_output = True
