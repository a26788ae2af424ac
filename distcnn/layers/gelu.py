"""The Gaussian error linear unit."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.elementwise import Elementwise


@dataclass(frozen=True)
class GELU(Elementwise):
    """y = x P(x), P the standard normal distribution function (Hendrycks and Gimpel 2016; as PyTorch). Any shape."""

    forward_kernel, backward_kernel = kernels.gelu_forward, kernels.gelu_backward
