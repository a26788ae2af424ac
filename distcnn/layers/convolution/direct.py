"""The direct algorithm: a convolution by its formula, for filters of any size, stride, padding, dilation and groups."""

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
FAR = 2**22  # bytes; a larger dy does not fit into the caches of a core
FAR_TAPS = 3  # taps of a row that a tile holds for such a dy
FEW_CHANNELS = 4  # per group; with fewer, a tile for the gradient of the data holds several columns


class Direct(Algorithm):
    """The formula itself, in all three directions. Tiles of dx may overlap, so dx cannot be written over x."""

    @property
    def border(self) -> Border:
        """The padding of columns; the kernels skip the rows of the padding."""
        return Border(self.across.padding, self.across.padding)

    @property
    def data_border(self) -> Border:
        """The columns that windows over dy cover beyond its edges, if there are few channels; else no zeros."""
        width = max(0, self.across.extent - 1 - self.across.padding)
        return Border(width, width) if self._has_few_channels else NO_BORDER

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
        """Return the call that computes the gradients of the weight and the bias if dy does not fit into a cache."""
        x, dy, sums = self._input(buffers), buffers.dy.inside, buffers.sums["weight"]
        down, across = self.layer.axes
        rows, columns = tile_sizes.convolution_weights(self.outputs, min(across.kernel_size, FAR_TAPS))
        tiles_of_outputs, tiles_of_taps = -(-self.outputs // rows), -(-across.kernel_size // columns)
        tile_counts = tiles_of_outputs, sums.shape[1], down.kernel_size, tiles_of_taps + 1
        shape = *tile_counts, rows * columns, LANES
        partial = buffers.scratch.array("partial", shape)
        kernel = kernels.convolution_backward_weights_far(rows, columns, across.dilation)
        return kernel, (x, dy, down, across, partial, sums, bias, buffers.guard)

    def backward_data(self, buffers: LayerBuffers) -> list[Call]:
        x, dx = self._grouped(buffers.x.inside), self._grouped(buffers.dx.inside)
        channels, filters = x.shape[1], self._grouped(buffers.parameters["weight"], 0)
        if self._has_few_channels:
            rows, columns = tile_sizes.convolution(channels, self.shape[2])
            kernel = few_channels_backward_data(rows, columns, buffers.mask)
            dy = self._grouped(buffers.dy.bordered(self.data_border))
            return [(kernel, (dy, filters, *self.layer.axes, self.data_border.left, x, dx))]
        tile = tile_sizes.convolution_data(channels)
        steps = self.down.stride, self.down.dilation, self.across.stride, self.across.dilation
        kernel = kernels.convolution_backward_data(tile, *steps, buffers.mask)
        return [(kernel, (self._grouped(buffers.dy.inside), filters, *self.layer.axes, x, dx))]

    @property
    def _has_few_channels(self) -> bool:
        """Whether the gradient of the data is computed by the kernel for few channels, which needs a stride of 1."""
        few = self.shape[0] // self.layer.groups < FEW_CHANNELS
        return few and self.down.stride == self.across.stride == 1

    def _is_far(self, buffers: LayerBuffers) -> bool:
        """Return whether dy does not fit into the caches of a core, and is larger than the kernel's partial sums."""
        of_dy, of_sums = buffers.dy.inside.nbytes, NUMBER * LANES * buffers.sums["weight"].size
        return self.layer.groups == 1 and of_dy > FAR and of_dy > of_sums

    def _whole_row(self) -> int:
        """Return a row of taps that lies inside the image in every window; if there is none, the number of rows."""
        down, first = self.down, self.down.padding
        stop = self.shape[1] + down.padding - (self.height - 1) * down.stride
        inside = (i for i in range(down.kernel_size) if first <= i * down.dilation < stop)
        return next(inside, down.kernel_size)

    def _input(self, buffers: LayerBuffers) -> np.ndarray:
        return self._grouped(buffers.x.bordered(self.border))

    def _grouped(self, array: np.ndarray, axis: int = 1) -> np.ndarray:
        """Return a view in which the axis of channels is split into two axes, [groups, channels of a group].

        array: a block [1, c, ...], or a parameter [c, ...].
        axis: the axis of channels: 1 for a block, whose axis 0 is dropped, or 0 for a parameter.
        """
        maps = array[0] if axis else array
        return maps.reshape(self.layer.groups, -1, *maps.shape[1:])
