"""The calls of a convolution by its formula, for any filters: the base of the other algorithms of `Conv2D`."""

import numpy as np

from distcnn.kernels import convolution as kernels
from distcnn.kernels import tile_sizes
from distcnn.kernels.few_channels import few_channels_backward_data
from distcnn.lanes import LANES
from distcnn.layers.base import NO_BORDER, Border

NUMBER = 4  # bytes
FAR, FAR_TAPS = 2**22, 3  # bytes of dy that no cache of a core holds; then so many taps of a row at a time
THIN = 4  # channels a group: below, the gradient of the data takes columns together, not channels


class Direct:
    """An algorithm for a Conv2D on images of `shape`: what it wants of its surroundings, and its calls.

    An algorithm may serve for one direction alone. over_input: dx may take the memory of x, of which each number is
    read for the last time just before that of dx is written (directly, tiles may overlap).
    """

    over_input = False

    def __init__(self, layer, shape):
        self.layer, self.shape = layer, shape
        self.down, self.across = layer.axes
        self.outputs, self.height, self.width = layer.output_shape(shape)

    # ---- what it wants ----

    @property
    def saved(self):
        """As Layer.kept."""
        return {}

    @property
    def group_shared(self):
        """As Layer.common."""
        return {}

    @property
    def border(self):
        """The zeros around x, for the forward pass and the gradient of the weights; of rows, none are needed."""
        return Border(self.across.padding, self.across.padding)

    @property
    def weights_border(self):
        """The zeros around dy, for the gradient of the weights."""
        return NO_BORDER

    @property
    def data_border(self):
        """The zeros around dy, for the gradient of the data."""
        width = max(0, self.across.extent - 1 - self.across.padding)
        return Border(width, width) if self._is_thin else NO_BORDER

    # ---- calls ----

    def prepare(self, buffers):
        """Return the calls that bring the weights into the form that the others want."""
        return []

    def forward(self, buffers, bias):
        """Return the calls that compute y."""
        rows, columns = tile_sizes.convolution(self.outputs // self.layer.groups, self.width)
        kernel = kernels.convolution_forward(rows, columns, self.across.stride, buffers.relu)
        filters, biases = self._grouped(buffers.parameters["weight"], 0), self._grouped(bias, 0)
        arrays = self._input(buffers), filters, biases, *self.layer.axes, self._grouped(buffers.y.inside)
        return [(kernel, arrays)]

    def backward_weights(self, buffers):
        """Return the calls that add the gradients of the weight and the bias to their sums."""
        none, whole = np.zeros(self.outputs, np.int64), self._whole_row()
        if self._is_far(buffers):
            return [self._far_weights(buffers, buffers.sums.get("bias", none))]
        tile = tile_sizes.convolution_weights(self.outputs // self.layer.groups, self.across.kernel_size)
        kernel = kernels.convolution_backward_weights(*tile, self.across.dilation, whole)
        dy, sums = self._grouped(buffers.dy.inside), self._grouped(buffers.sums["weight"], 0)
        biases = self._grouped(buffers.sums.get("bias", none), 0)
        calls = [(kernel, (self._input(buffers), dy, *self.layer.axes, sums, biases, buffers.guard))]
        return calls + (self.bias_calls(buffers, buffers.dy.inside) if whole == self.down.kernel_size else [])

    def _far_weights(self, buffers, bias):
        """Return the call that does it for maps that lie in no cache."""
        sums, (down, across) = buffers.sums["weight"], self.layer.axes
        rows, columns = tile_sizes.convolution_weights(self.outputs, min(across.kernel_size, FAR_TAPS))
        shape = (
            -(-self.outputs // rows),
            sums.shape[1],
            down.kernel_size,
            -(-across.kernel_size // columns) + 1,
        )
        partial = buffers.scratch.array("partial", (*shape, rows * columns, LANES))
        kernel = kernels.convolution_backward_weights_far(rows, columns, across.dilation)
        return kernel, (
            self._input(buffers),
            buffers.dy.inside,
            down,
            across,
            partial,
            sums,
            bias,
            buffers.guard,
        )

    def backward_data(self, buffers):
        """Return the calls that compute dx."""
        x, dx = self._grouped(buffers.x.inside), self._grouped(buffers.dx.inside)
        channels, filters = x.shape[1], self._grouped(buffers.parameters["weight"], 0)
        if self._is_thin:
            kernel = few_channels_backward_data(
                *tile_sizes.convolution(channels, self.shape[2]), buffers.mask
            )
            dy = self._grouped(buffers.dy.bordered(self.data_border))
            return [(kernel, (dy, filters, *self.layer.axes, self.data_border.left, x, dx))]
        steps = self.down.stride, self.down.dilation, self.across.stride, self.across.dilation
        kernel = kernels.convolution_backward_data(
            tile_sizes.convolution_data(channels), *steps, buffers.mask
        )
        return [(kernel, (self._grouped(buffers.dy.inside), filters, *self.layer.axes, x, dx))]

    def bias_calls(self, buffers, dy):
        """Return the calls that add the bias's gradient to its sums, if there is a bias; dy [1, o, rows, columns, 16].

        It is the sum of all that dy has.
        """
        if not self.layer.bias:
            return []
        return [
            (kernels.bias_gradient(tile_sizes.sums(self.outputs)), (dy, buffers.sums["bias"], buffers.guard))
        ]

    # ---- inside ----

    @property
    def _is_thin(self):
        return self.shape[0] // self.layer.groups < THIN and self.down.stride == self.across.stride == 1

    def _is_far(self, buffers):
        """Tell whether no cache of a core holds dy, and the sums over one row of it are less."""
        held, of_sums = buffers.dy.inside.nbytes, NUMBER * LANES * buffers.sums["weight"].size
        return self.layer.groups == 1 and held > FAR and held > of_sums

    def _whole_row(self):
        """Return a row of taps that lies inside the image in every window; if there is none, the number of rows."""
        down, first = self.down, self.down.padding
        stop = self.shape[1] + down.padding - (self.height - 1) * down.stride
        inside = (i for i in range(down.kernel_size) if first <= i * down.dilation < stop)
        return next(inside, down.kernel_size)

    def _input(self, buffers):
        return self._grouped(buffers.x.bordered(self.border))

    def _grouped(self, array, axis=1):
        """See the maps along an axis as [groups, maps]; of a block [1, c, ...] the first axis goes."""
        maps = array[0] if axis else array
        return maps.reshape(self.layer.groups, -1, *maps.shape[1:])
