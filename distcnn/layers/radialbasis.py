"""The output layer of the LeNet-5 of 1998."""

import math
from dataclasses import dataclass

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import radial_basis as kernels
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.declarations import Call, Shape
from distcnn.system.counts import counted


@dataclass(frozen=True, eq=False)
class RadialBasis(Layer):
    """y[k] = -|x - centers[k]|**2, the logit of class k: (features,) -> (classes,). It has no parameters.

    centers: (classes, features) numbers.
    rejection: a number j adds one further class to the loss, with logit -j, to which no sample belongs (LeCun et al.
        1998, equation 9). It limits how far training moves inputs away from the centers of wrong classes.
    """

    centers: np.ndarray
    rejection: float = math.inf

    def __post_init__(self) -> None:
        try:
            centers = np.array(self.centers, np.float32)
        except (TypeError, ValueError):
            centers = np.empty(0, np.float32)
        if centers.ndim != 2 or not centers.size or not np.isfinite(centers).all():
            raise NetError("RadialBasis: centers must be finite numbers of shape (classes, features)")
        if isinstance(self.rejection, bool) or not self.rejection > 0:
            raise NetError(f"RadialBasis: rejection is {self.rejection!r}; wanted a number above 0")
        object.__setattr__(self, "centers", centers)

    @property
    def rejection_logit(self) -> float:
        return -self.rejection

    def output_shape(self, shape: Shape) -> Shape:
        classes, features = self.centers.shape
        if shape != (features,):
            found = f"centers of {counted(features, 'feature')}"
            raise NetError(f"{self} has {found}, but its input has shape {shape}")
        return (classes,)

    def flops(self, shape: Shape) -> int:
        return 2 * self.centers.size

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return [(kernels.radial_forward, (buffers.x.array, self.centers, buffers.y.array))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        if buffers.dx is None:
            return []
        arrays = buffers.x.array, self.centers, buffers.dy.array, buffers.dx.array
        return [(kernels.radial_backward, arrays)]
