"""Dropout: noise in training that is a function of the sample, never of ranks or batches."""

from dataclasses import dataclass

from distcnn.errors import NetError
from distcnn.kernels import dropout as kernels
from distcnn.lanes import LANES
from distcnn.layers.base import Layer


@dataclass(frozen=True)
class Dropout(Layer):
    """In training each x becomes 0 with probability p, else x / (1 - p) (Hinton et al. 2012, in PyTorch's form).

    Each sample's mask is another one in each epoch, a function of (seed, epoch, sample, layer). Any shape.
    """

    p: float = 0.5

    training_only = True

    def __post_init__(self):
        if isinstance(self.p, bool) or not isinstance(self.p, (int, float)) or not 0 <= self.p < 1:
            raise NetError(f"Dropout: p is {self.p!r}; wanted a number from 0, below 1")

    def output_shape(self, shape):
        return shape

    def saved(self, shape):
        *rows, columns = shape if len(shape) == 3 else (1, 1, *shape)
        return {"mask": (1, *rows, -(-columns // 4) * 4, LANES)}

    def forward(self, buffers):
        context = buffers.context
        arrays = context.samples, context.settings, buffers.saved["mask"], buffers.y.rows
        return [(kernels.dropout_forward, (buffers.x.rows, self.p, buffers.number, *arrays))]

    def backward(self, buffers):
        if buffers.dx is None:
            return []
        return [(kernels.dropout_backward, (buffers.saved["mask"], buffers.dy.rows, buffers.dx.rows))]
