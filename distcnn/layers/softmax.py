"""Softmax, for nets whose output is probabilities. A net for training must not end with it: the loss takes logits."""

from dataclasses import dataclass

from distcnn.kernels import activations as kernels
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.declarations import Call, Shape


@dataclass(frozen=True)
class Softmax(Layer):
    """y = exp(x) / sum of exp(x), over the features, or over the channels at each pixel (dim=1 in PyTorch)."""

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return [(kernels.softmax_forward, (buffers.x.channels, buffers.y.channels))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        if buffers.dx is None:
            return []
        return [(kernels.softmax_backward, (buffers.y.channels, buffers.dy.channels, buffers.dx.channels))]
