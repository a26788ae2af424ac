"""Dropout; the mask of a sample depends on the sample, but not on ranks or batches."""

from dataclasses import dataclass

from distcnn.errors import NetError
from distcnn.kernels import dropout as kernels
from distcnn.lanes import LANES
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.declarations import Call, Shape


@dataclass(frozen=True)
class Dropout(Layer):
    """y = 0 with probability p, else x / (1 - p), in training; y = x in inference. Any shape.

    Dropout is of Hinton et al. 2012; this is PyTorch's form. The mask is a function of (seed, epoch, sample, layer).
    """

    p: float = 0.5

    training_only = True

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, (int, float)) or not 0 <= self.p < 1:
            raise NetError(f"Dropout: p is {self.p!r}; wanted a number from 0, below 1")

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def saved(self, shape: Shape) -> dict[str, Shape]:
        *rows, columns = shape if len(shape) == 3 else (1, 1, *shape)
        return {"mask": (1, *rows, -(-columns // 4) * 4, LANES)}

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        context = buffers.context
        arrays = context.samples, context.settings, buffers.saved["mask"], buffers.y.rows
        return [(kernels.dropout_forward, (buffers.x.rows, self.p, buffers.number, *arrays))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        if buffers.dx is None:
            return []
        return [(kernels.dropout_backward, (buffers.saved["mask"], buffers.dy.rows, buffers.dx.rows))]
