"""What pooling layers share: how windows lie in an image, and sums over them with weights."""

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import windows as kernels
from distcnn.layers.base import Layer, check_image, check_whole, window_count


class Pool2D(Layer):
    """A pooling layer: (c, h, w) -> (c, oh, ow). Its arguments are kernel_size, stride, padding and ceil_mode.

    stride: the kernel's size unless given; padding: at most half a kernel; ceil_mode: windows that the edge cuts off
    count too.
    """

    def __post_init__(self):
        check_whole(self, 1, kernel_size=self.kernel_size, stride=self.step)
        check_whole(self, 0, padding=self.padding)
        if self.padding > self.kernel_size // 2:
            raise NetError(f"{self}: padding may be at most half of kernel_size, {self.kernel_size // 2}")

    @property
    def step(self):
        """Distance of neighbouring windows."""
        return self.kernel_size if self.stride is None else self.stride

    def output_shape(self, shape):
        c, h, w = check_image(self, shape)
        oh, ow = (
            window_count(self, n, self.kernel_size, self.step, self.padding, self.ceil_mode) for n in (h, w)
        )
        return c, oh, ow

    def is_partition(self, shape):
        """Tell whether every pixel lies in exactly one window."""
        return self.step == self.kernel_size and all(
            count * self.step - self.padding >= size
            for count, size in zip(self.output_shape(shape)[1:], shape[1:], strict=True)
        )

    def flops(self, shape):
        c, oh, ow = self.output_shape(shape)
        return c * oh * ow * self.kernel_size**2


class WeightedPool2D(Pool2D):
    """A pooling layer whose output is a weighted sum over the window."""

    def axis_weights(self, size, starts):
        """Return the weights along one axis of a window that begins at each of `starts`, [windows, kernel_size].

        A pixel's weight is the product of its row's and its column's; what lies outside of 0 ... size - 1 is not read.
        """
        raise NotImplementedError

    def tables(self, shape):
        """Return the weights of rows and of columns, float32 [windows, kernel_size]."""
        both = zip(shape[1:], self.output_shape(shape)[1:], strict=True)
        starts = [(size, [k * self.step - self.padding for k in range(count)]) for size, count in both]
        return tuple(np.array(self.axis_weights(*each), np.float32) for each in starts)

    def forward(self, wiring, factor=None, bias=None):
        channels = wiring.x.shape[0]
        factor = np.ones(channels, np.float32) if factor is None else factor
        bias = np.zeros(channels, np.float32) if bias is None else bias
        tables = self.tables(wiring.x.shape)
        kernel = kernels.window_forward(self.kernel_size, self.step)
        return [(kernel, (wiring.x.inside, *tables, factor, bias, self.padding, wiring.y.inside))]

    def backward(self, wiring, factor=None):
        if wiring.dx is None:
            return []
        factor = np.ones(wiring.x.shape[0], np.float32) if factor is None else factor
        tables = self.tables(wiring.x.shape)
        kernel = kernels.window_backward_data(self.kernel_size, self.step)
        if self.is_partition(wiring.x.shape):
            kernel = kernels.window_backward_data_apart(self.kernel_size)
        return [(kernel, (wiring.dy.inside, *tables, factor, self.padding, wiring.dx.inside))]

    def inside(self, start, size):
        """Return the places of a window, 0 ... kernel_size - 1, that lie inside the image."""
        return [j for j in range(self.kernel_size) if 0 <= start + j < size]
