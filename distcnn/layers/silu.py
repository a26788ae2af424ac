"""The sigmoid linear unit."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.elementwise import Elementwise


@dataclass(frozen=True)
class SiLU(Elementwise):
    """y = x / (1 + exp(-x)) (PyTorch's SiLU, also known as swish). Any shape."""

    forward_kernel, backward_kernel = kernels.silu_forward, kernels.silu_backward
