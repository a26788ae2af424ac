"""The rectified linear unit."""

from dataclasses import dataclass

from distcnn.kernels import pointwise as kernels
from distcnn.layers.declarations import RELU, Fusion
from distcnn.layers.elementwise import Elementwise


@dataclass(frozen=True)
class ReLU(Elementwise):
    """y = max(x, 0); the derivative at 0 is 0. Any shape."""

    forward_kernel, backward_kernel = kernels.relu_forward, kernels.relu_backward
    from_output = True

    fusion = Fusion(RELU)
