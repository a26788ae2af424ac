"""From images to features."""

import math
from dataclasses import dataclass

from distcnn.kernels import pointwise as kernels
from distcnn.layers.base import Layer, check_image


@dataclass(frozen=True)
class Flatten(Layer):
    """(c, h, w) -> (c * h * w,), in row order."""

    def output_shape(self, shape):
        return (math.prod(check_image(self, shape)),)

    def is_view(self, border):
        return not any(border)

    def forward(self, buffers):
        return [(kernels.flatten, (buffers.x.inside, buffers.y.array))]

    def backward(self, buffers):
        return [(kernels.unflatten, (buffers.dy.array, buffers.dx.inside))] if buffers.dx else []
