"""The calls of a convolution by its formula, for filters of any size, stride, padding, dilation and groups."""

import numpy as np

from distcnn.kernels import convolution as kernels
from distcnn.kernels import tile_sizes
from distcnn.kernels.few_channels import few_channels_backward_data
from distcnn.lanes import LANES
from distcnn.layers.base import LayerBuffers
from distcnn.layers.convolution.algorithm import Algorithm
from distcnn.layers.declarations import Call
from distcnn.layers.values import NO_BORDER, Border

NUMBER = 4  # bytes
FAR, FAR_TAPS = 2**22, 3  # bytes of dy that no cache of a core holds; then so many taps of a row at a time
THIN = 4  # channels a group: below, the gradient of the data takes columns together, not channels


class Direct(Algorithm):
    """The formula itself, in all three directions. Its tiles may overlap, so that dx cannot be written over x."""

    @property
    def border(self) -> Border:
        """The padding of columns; kernels leave out the rows of the padding."""
        return Border(self.across.padding, self.across.padding)

    @property
    def data_border(self) -> Border:
        """What windows over dy see beyond its columns, where there are few channels."""
        width = max(0, self.across.extent - 1 - self.across.padding)
        return Border(width, width) if self._is_thin else NO_BORDER

    def forward(self, buffers: LayerBuffers, bias: np.ndarray) -> list[Call]:
        rows, columns = tile_sizes.convolution(self.outputs // self.layer.groups, self.width)
        kernel = kernels.convolution_forward(rows, columns, self.across.stride, buffers.relu)
        filters, biases = self._grouped(buffers.parameters["weight"], 0), self._grouped(bias, 0)
        y = self._grouped(buffers.y.inside)
        return [(kernel, (self._input(buffers), filters, biases, *self.layer.axes, y))]

    def backward_weights(self, buffers: LayerBuffers) -> list[Call]:
        none, whole = np.zeros(self.outputs, np.int64), self._whole_row()
        if self._is_far(buffers):
            return [self._far_weights(buffers, buffers.sums.get("bias", none))]
        tile = tile_sizes.convolution_weights(self.outputs // self.layer.groups, self.across.kernel_size)
        kernel = kernels.convolution_backward_weights(*tile, self.across.dilation, whole)
        dy, sums = self._grouped(buffers.dy.inside), self._grouped(buffers.sums["weight"], 0)
        biases = self._grouped(buffers.sums.get("bias", none), 0)
        calls = [(kernel, (self._input(buffers), dy, *self.layer.axes, sums, biases, buffers.guard))]
        return calls + (self.bias_calls(buffers, buffers.dy.inside) if whole == self.down.kernel_size else [])

    def _far_weights(self, buffers: LayerBuffers, bias: np.ndarray) -> Call:
        """Return the call that does it for maps that fit into no cache."""
        x, dy, sums = self._input(buffers), buffers.dy.inside, buffers.sums["weight"]
        down, across = self.layer.axes
        rows, columns = tile_sizes.convolution_weights(self.outputs, min(across.kernel_size, FAR_TAPS))
        groups, parts = -(-self.outputs // rows), -(-across.kernel_size // columns) + 1
        shape = groups, sums.shape[1], down.kernel_size, parts, rows * columns, LANES
        partial = buffers.scratch.array("partial", shape)
        kernel = kernels.convolution_backward_weights_far(rows, columns, across.dilation)
        return kernel, (x, dy, down, across, partial, sums, bias, buffers.guard)

    def backward_data(self, buffers: LayerBuffers) -> list[Call]:
        x, dx = self._grouped(buffers.x.inside), self._grouped(buffers.dx.inside)
        channels, filters = x.shape[1], self._grouped(buffers.parameters["weight"], 0)
        if self._is_thin:
            kernel = few_channels_backward_data(
                *tile_sizes.convolution(channels, self.shape[2]), buffers.mask
            )
            dy = self._grouped(buffers.dy.bordered(self.data_border))
            return [(kernel, (dy, filters, *self.layer.axes, self.data_border.left, x, dx))]
        tile = tile_sizes.convolution_data(channels)
        steps = self.down.stride, self.down.dilation, self.across.stride, self.across.dilation
        kernel = kernels.convolution_backward_data(tile, *steps, buffers.mask)
        return [(kernel, (self._grouped(buffers.dy.inside), filters, *self.layer.axes, x, dx))]

    @property
    def _is_thin(self) -> bool:
        return self.shape[0] // self.layer.groups < THIN and self.down.stride == self.across.stride == 1

    def _is_far(self, buffers: LayerBuffers) -> bool:
        """Return whether no cache of a core holds dy, and the partial sums over one row of it are smaller."""
        held, of_sums = buffers.dy.inside.nbytes, NUMBER * LANES * buffers.sums["weight"].size
        return self.layer.groups == 1 and held > FAR and held > of_sums

    def _whole_row(self) -> int:
        """Return a row of taps that lies inside the image in every window; if there is none, the number of rows."""
        down, first = self.down, self.down.padding
        stop = self.shape[1] + down.padding - (self.height - 1) * down.stride
        inside = (i for i in range(down.kernel_size) if first <= i * down.dilation < stop)
        return next(inside, down.kernel_size)

    def _input(self, buffers: LayerBuffers) -> np.ndarray:
        return self._grouped(buffers.x.bordered(self.border))

    def _grouped(self, array: np.ndarray, axis: int = 1) -> np.ndarray:
        """Return a view with [groups, maps] in place of the maps.

        axis: 1 for a block [1, c, ...], whose first axis goes; 0 for parameters, whose first axis are the maps.
        """
        maps = array[0] if axis else array
        return maps.reshape(self.layer.groups, -1, *maps.shape[1:])
