"""The base of layers that apply one function to every number by itself."""

from distcnn.kernels.jit import Kernel
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.declarations import Call, MemoryUse, Shape


class Elementwise(Layer):
    """y = f(x), for x of any shape.

    A subclass names its kernels.

    forward_kernel: (x, y).
    backward_kernel: (x or y, dy, dx); dx may be dy.
    from_output: whether the backward kernel takes y instead of x.
    """

    forward_kernel: Kernel
    backward_kernel: Kernel
    from_output = False

    memory = MemoryUse(dx_is_dy=True)

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        return [(self.forward_kernel, (buffers.x.rows, buffers.y.rows))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        if buffers.dx is None:
            return []
        known = buffers.y if self.from_output else buffers.x
        return [(self.backward_kernel, (known.rows, buffers.dy.rows, buffers.dx.rows))]
