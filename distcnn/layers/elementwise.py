"""What layers have in common that do the same to every number by itself."""

from distcnn.layers.base import Layer


class Elementwise(Layer):
    """Base of y = f(x): a subclass names its kernels, forward(x, y) and backward(x or y, dy, dx).

    from_output: the derivative is computed from y, not from x.
    """

    forward_kernel = backward_kernel = None
    from_output = False

    gradient_in_place = True

    def output_shape(self, shape):
        return shape

    def forward(self, buffers):
        return [(self.forward_kernel, (buffers.x.rows, buffers.y.rows))]

    def backward(self, buffers):
        if buffers.dx is None:
            return []
        known = buffers.y if self.from_output else buffers.x
        return [(self.backward_kernel, (known.rows, buffers.dy.rows, buffers.dx.rows))]
