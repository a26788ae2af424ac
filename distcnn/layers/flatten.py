"""Flatten: from images to features."""

import math
from dataclasses import dataclass

from distcnn.kernels import pointwise as kernels
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.checks import check_image
from distcnn.layers.declarations import Call, Shape
from distcnn.layers.values import Border


@dataclass(frozen=True)
class Flatten(Layer):
    """(c, h, w) -> (c * h * w,), in row order."""

    def output_shape(self, shape: Shape) -> Shape:
        return (math.prod(check_image(self, shape)),)

    def is_view(self, border: Border) -> bool:
        return not any(border)

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return [(kernels.flatten, (buffers.x.inside, buffers.y.array))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        return [(kernels.unflatten, (buffers.dy.array, buffers.dx.inside))] if buffers.dx else []
