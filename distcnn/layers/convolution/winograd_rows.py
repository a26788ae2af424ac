"""The calls of a convolution with filters five taps wide by Winograd's algorithm along rows: what `Conv2D` uses there.

What the forward pass transforms is kept for the gradient of the weights; what that transforms, for the data's.
"""

from distcnn.kernels import tile_sizes
from distcnn.kernels import winograd_rows as kernels
from distcnn.kernels.axis import Axis
from distcnn.lanes import LANES, aligned
from distcnn.layers.base import Border
from distcnn.layers.convolution.direct import Direct

POINTS = kernels.POINTS
TAPS = 5


def is_faster(channels, outputs, width):
    """Tell whether this is faster than directly, for outputs of so many columns.

    Measured, all three directions together: 3 to 8 channels 1.2 times as fast, 6 to 16 1.45 times; 1 to 6 slower. Of
    what pairs of columns compute, little may lie beyond the last column.
    """
    return min(channels, outputs) >= 3 and channels * outputs >= 24 and 5 * width >= 8 * pairs_of(width)


def fits(layer, shape):
    """Tell whether this can be done for a Conv2D, and pays."""
    down, across = layer.axes
    plain = across == Axis(TAPS, 1, across.padding) and down.stride == down.dilation == layer.groups == 1
    outputs, _, width = layer.output_shape(shape)
    return plain and is_faster(shape[0], outputs, width)


def pairs_of(width):
    """Return the pairs that so many columns make, the last of which may be half empty."""
    return -(-width // 2)


class RowWise(Direct):
    """Winograd's algorithm along rows for a Conv2D; see Direct. The weights' gradient comes before the data's."""

    over_input = True

    def __init__(self, layer, shape):
        super().__init__(layer, shape)
        self.pairs = pairs_of(self.width)

    @property
    def saved(self):
        channels, height, _ = self.shape
        return {"points": (POINTS, channels, height, self.pairs, LANES)}

    @property
    def border(self):
        """The padding, and what completes the last pair."""
        padding = self.across.padding
        return Border(padding, padding + 2 * self.pairs - self.width)

    @property
    def weights_border(self):
        """What completes the last pair of dy."""
        return Border(0, 2 * self.pairs - self.width)

    data_border = weights_border

    def prepare(self, buffers):
        weight = buffers.parameters["weight"]
        buffers.filters = aligned((POINTS, *weight.shape[:3]))
        return [(kernels.winograd_rows_filters, (weight, buffers.filters))]

    def forward(self, buffers, bias):
        points, m = buffers.saved["points"], self._products(buffers, self.outputs)
        kernel = kernels.winograd_rows_forward(
            *tile_sizes.convolution(self.outputs, self.pairs), buffers.relu
        )
        arrays = points, buffers.filters, bias, self.down, m, buffers.y.inside
        return [(kernels.winograd_rows_inputs, (buffers.x.bordered(self.border), points)), (kernel, arrays)]

    def backward_weights(self, buffers):
        """At the point 1, a pair of dy is the sum of its two columns, which the bias's gradient is made of."""
        outputs, channels = buffers.sums["weight"].shape[:2]
        dy, z = buffers.dy.bordered(self.weights_border), self._gradient_points(buffers)
        d = buffers.scratch.array("d", (POINTS, outputs, channels, LANES))
        kernel = kernels.winograd_rows_backward_weights(*tile_sizes.winograd_rows_weights(outputs, channels))
        arrays = buffers.saved["points"], z, self.down, d, buffers.sums["weight"], buffers.guard
        calls = [(kernels.winograd_rows_gradients, (dy, z)), (kernel, arrays)]
        return calls + self.bias_calls(buffers, z[1:2])

    def backward_data(self, buffers):
        channels, z = self.shape[0], self._gradient_points(buffers)
        kernel = kernels.winograd_rows_backward_data(
            *tile_sizes.convolution(channels, self.pairs), buffers.mask
        )
        m = self._products(buffers, channels)
        return [(kernel, (z, buffers.filters, *self.layer.axes, m, buffers.x.inside, buffers.dx.inside))]

    def _products(self, buffers, maps):
        return buffers.scratch.array("m", (POINTS, maps, self.pairs, LANES))

    def _gradient_points(self, buffers):
        return buffers.scratch.array("z", (POINTS, self.outputs, self.height, self.pairs, LANES))
