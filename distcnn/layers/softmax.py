"""Softmax, for those who want probabilities: the loss takes logits and has a softmax of its own."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.base import Layer


@dataclass(frozen=True)
class Softmax(Layer):
    """y = exp(x) / sum of exp(x), over the features, or over the channels at each place (dim=1 in PyTorch)."""

    def output_shape(self, shape):
        return shape

    def forward(self, buffers):
        return [(kernels.softmax_forward, (buffers.x.channels, buffers.y.channels))]

    def backward(self, buffers):
        if buffers.dx is None:
            return []
        return [(kernels.softmax_backward, (buffers.y.channels, buffers.dy.channels, buffers.dx.channels))]
