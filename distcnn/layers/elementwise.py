"""The base class of layers that apply one function to each number separately."""

from distcnn.kernels.jit import Kernel
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.declarations import Call, MemoryUse, Shape


class Elementwise(Layer):
    """y = f(x), for x of any shape.

    A subclass must define these attributes.

    forward_kernel: the kernel of the forward pass, with arguments (x, y).
    backward_kernel: the kernel of the backward pass, with arguments (x or y, dy, dx); dx is the same array as dy.
    from_output: whether the first argument of the backward kernel is y instead of x.
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
