"""Winograd's algorithm along rows, for a convolution with filters five taps wide.

The gradient of the weights uses the transformed inputs of the forward pass. The gradient of the data uses the
transformed dy of the gradient of the weights.
"""

import numpy as np

from distcnn.kernels import tile_sizes
from distcnn.kernels import winograd_rows as kernels
from distcnn.kernels.axis import Axis
from distcnn.lanes import LANES
from distcnn.layers.base import LayerBuffers
from distcnn.layers.convolution.algorithm import Algorithm
from distcnn.layers.declarations import Call, Shape
from distcnn.layers.values import Border
from distcnn.layers.window2d import Filters2D

POINTS = kernels.POINTS
TAPS = 5


def is_faster(channels: int, outputs: int, width: int) -> bool:
    """Return whether this algorithm is faster than the direct one.

    Measured, all three directions together: 3 to 8 channels 1.2 times as fast, 6 to 16 1.45 times; 1 to 6 slower. At
    most a fifth of the columns of the pairs may lie beyond the last column of the output.

    channels, outputs: the numbers of channels of the input and of the output.
    width: the number of columns of the output.
    """
    return min(channels, outputs) >= 3 and channels * outputs >= 24 and 5 * width >= 8 * pairs_of(width)


def fits(layer: Filters2D, shape: Shape) -> bool:
    """Return whether this algorithm can compute a layer on images of `shape`, and is faster than the direct one."""
    down, across = layer.axes
    plain = across == Axis(TAPS, 1, across.padding) and down.stride == down.dilation == layer.groups == 1
    outputs, _, width = layer.output_shape(shape)
    return plain and is_faster(shape[0], outputs, width)


def pairs_of(width: int) -> int:
    """Return how many pairs so many columns form; the last pair may have only one column."""
    return -(-width // 2)


class WinogradRows(Algorithm):
    """Winograd's algorithm along rows.

    The calls of `backward_weights` must run before those of `backward_data`, unless the weights are frozen.
    """

    over_input = True

    def __init__(self, layer: Filters2D, shape: Shape) -> None:
        super().__init__(layer, shape)
        self.pairs = pairs_of(self.width)

    @property
    def saved(self) -> dict[str, Shape]:
        channels, height, _ = self.shape
        return {"points": (POINTS, channels, height, self.pairs, LANES)}

    def prepared(self, with_dx: bool) -> dict[str, Shape]:
        """Return the declaration of the transformed filters, for the forward pass and the gradient of the data."""
        return {"filters": (POINTS, self.outputs, self.shape[0], self.down.kernel_size)}

    @property
    def border(self) -> Border:
        """The padding, and the column that completes the last pair."""
        padding = self.across.padding
        return Border(padding, padding + 2 * self.pairs - self.width)

    @property
    def weights_border(self) -> Border:
        """The column that completes the last pair of dy."""
        return Border(0, 2 * self.pairs - self.width)

    data_border = weights_border

    def prepare(self, buffers: LayerBuffers) -> list[Call]:
        return [(kernels.winograd_rows_filters, (buffers.parameters["weight"], buffers.prepared["filters"]))]

    def forward(self, buffers: LayerBuffers, bias: np.ndarray) -> list[Call]:
        points, m = buffers.saved["points"], self._products(buffers, self.outputs)
        rows, columns = tile_sizes.convolution(self.outputs, self.pairs)
        kernel = kernels.winograd_rows_forward(rows, columns, buffers.relu)
        arrays = points, buffers.prepared["filters"], bias, self.down, m, buffers.y.inside
        return [(kernels.winograd_rows_inputs, (buffers.x.bordered(self.border), points)), (kernel, arrays)]

    def backward_weights(self, buffers: LayerBuffers) -> list[Call]:
        """Return the calls that add the gradients of the weight and the bias to their sums.

        At the point 1, a pair of dy is the sum of its two columns; the gradient of the bias is the sum of these.
        """
        outputs, channels = buffers.sums["weight"].shape[:2]
        z = self._gradient_points(buffers)
        d = buffers.scratch.array("d", (POINTS, outputs, channels, LANES))
        kernel = kernels.winograd_rows_backward_weights(*tile_sizes.winograd_rows_weights(outputs, channels))
        arrays = buffers.saved["points"], z, self.down, d, buffers.sums["weight"], buffers.guard
        return [self._transform_gradient(buffers), (kernel, arrays), *self.bias_calls(buffers, z[1:2])]

    def backward_data(self, buffers: LayerBuffers) -> list[Call]:
        channels, z = self.shape[0], self._gradient_points(buffers)
        rows, columns = tile_sizes.convolution(channels, self.pairs)
        kernel = kernels.winograd_rows_backward_data(rows, columns, buffers.mask)
        m, filters = self._products(buffers, channels), buffers.prepared["filters"]
        arrays = z, filters, *self.layer.axes, m, buffers.x.inside, buffers.dx.inside
        return [*([self._transform_gradient(buffers)] if buffers.frozen else []), (kernel, arrays)]

    def _transform_gradient(self, buffers: LayerBuffers) -> Call:
        """Return the call that fills the points of dy."""
        dy = buffers.dy.bordered(self.weights_border)
        return kernels.winograd_rows_gradients, (dy, self._gradient_points(buffers))

    def _products(self, buffers: LayerBuffers, maps: int) -> np.ndarray:
        return buffers.scratch.array("m", (POINTS, maps, self.pairs, LANES))

    def _gradient_points(self, buffers: LayerBuffers) -> np.ndarray:
        return buffers.scratch.array("z", (POINTS, self.outputs, self.height, self.pairs, LANES))
