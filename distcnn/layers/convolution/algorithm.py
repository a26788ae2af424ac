"""The base class of the algorithms for convolutions: the arrays that an algorithm needs, and its kernel calls."""

from collections.abc import Mapping

import numpy as np

from distcnn.kernels import convolution as kernels
from distcnn.kernels import tile_sizes
from distcnn.layers.base import LayerBuffers
from distcnn.layers.declarations import Array, Call, Shape
from distcnn.layers.values import NO_BORDER, Border
from distcnn.layers.window2d import Filters2D


class Algorithm:
    """An algorithm for a Conv2D on images of one shape.

    An algorithm may be used for some of the three directions only, see conv2d.Algorithms.

    over_input: whether the calls may write dx over x, because each number of x is read for the last time before the
        number of dx at the same position is written.
    """

    over_input = False

    def __init__(self, layer: Filters2D, shape: Shape) -> None:
        self.layer, self.shape = layer, shape
        self.down, self.across = layer.axes
        self.outputs, self.height, self.width = layer.output_shape(shape)

    # ---- what the planner asks ----

    @property
    def saved(self) -> dict[str, Shape]:
        """As `Layer.saved`."""
        return {}

    def prepared(self, with_dx: bool) -> Mapping[str, Array | Shape]:
        """As `Layer.prepared`."""
        return {}

    @property
    def border(self) -> Border:
        """The zeros needed around x, for the forward pass and the gradient of the weights."""
        return NO_BORDER

    @property
    def weights_border(self) -> Border:
        """The zeros needed around dy, for the gradient of the weights."""
        return NO_BORDER

    @property
    def data_border(self) -> Border:
        """The zeros needed around dy, for the gradient of the data."""
        return NO_BORDER

    # ---- calls ----

    def prepare(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that fill the prepared arrays from the weights."""
        return []

    def forward(self, buffers: LayerBuffers, bias: np.ndarray) -> list[Call]:
        """Return the calls that compute y; bias: float32 [outputs]."""
        raise NotImplementedError

    def backward_weights(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that add the gradients of the weight and the bias to their sums."""
        raise NotImplementedError

    def backward_data(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that compute dx."""
        raise NotImplementedError

    def bias_calls(self, buffers: LayerBuffers, dy: np.ndarray) -> list[Call]:
        """Return the calls that add the gradient of the bias, the sum of dy, to its sums; none without a bias.

        buffers: the buffers of the layer.
        dy: [1, outputs, rows, columns, 16].
        """
        if not self.layer.bias:
            return []
        kernel = kernels.bias_gradient(tile_sizes.sums(self.outputs))
        return [(kernel, (dy, buffers.sums["bias"], buffers.guard))]
