"""The fully connected layer."""

from dataclasses import dataclass

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import convolution, tile_sizes
from distcnn.kernels import dense as kernels
from distcnn.kernels.axis import Axis
from distcnn.lanes import LANES, aligned
from distcnn.layers.base import Layer, Parameter, check_whole, check_yes_or_no

NUMBER = 4  # bytes
FAR = 2 * 2**20  # bytes of weights that no cache of a core holds
AHEAD = 2  # tiles


@dataclass(frozen=True)
class Dense(Layer):
    """y[o] = bias[o] + sum over i of weight[o, i] * x[i] (PyTorch's Linear).

    (features,) -> (out_features,). weight: (out_features, features); bias: (out_features,).
    """

    out_features: int
    bias: bool = True

    applies_relu = True
    applies_mask = True

    def __post_init__(self):
        check_whole(self, 1, out_features=self.out_features)
        check_yes_or_no(self, bias=self.bias)

    def output_shape(self, shape):
        if len(shape) != 1:
            raise NetError(
                f"{self} wants features, but its input has shape {shape}: put a Flatten() before it"
            )
        return (self.out_features,)

    def parameters(self, shape):
        weight = Parameter((self.out_features, shape[0]), fan_in=shape[0])
        return (
            {"weight": weight, "bias": Parameter((self.out_features,))} if self.bias else {"weight": weight}
        )

    def forward(self, buffers):
        weight = buffers.parameters["weight"]
        bias = buffers.parameters.get("bias", np.zeros(self.out_features, np.float32))
        kernel = kernels.dense_forward(tile_sizes.dense(self.out_features, buffers.x.shape[0]), buffers.relu)
        return [(kernel, (buffers.x.array, weight, bias, buffers.y.array))]

    def backward(self, buffers):
        calls = [self._backward_weights(buffers)]
        dy = buffers.dy.array
        if self.bias:
            kernel = convolution.bias_gradient(tile_sizes.sums(self.out_features))
            calls.append((kernel, (_as_image(dy), buffers.sums["bias"], buffers.guard)))
        if buffers.dx:
            kernel = self._data_kernel(buffers.x.shape[0], buffers.mask)
            calls.append((kernel, (dy, buffers.parameters["weight"], buffers.x.array, buffers.dx.array)))
        return calls

    def _data_kernel(self, features, mask):
        if self._is_far(features):
            return kernels.dense_backward_data_far(tile_sizes.dense_far(features), mask)
        return kernels.dense_backward_data(tile_sizes.dense(features), mask)

    def _is_far(self, features):
        return NUMBER * self.out_features * features > FAR

    def _backward_weights(self, buffers):
        x, dy, sums, guard = buffers.x.array, buffers.dy.array, buffers.sums["weight"], buffers.guard
        features = x.shape[1]
        if features >= LANES:
            ahead = AHEAD if self._is_far(features) else 0
            kernel = kernels.dense_backward_weights(
                *tile_sizes.dense_weights(self.out_features, features, ahead), ahead
            )
            transposed = aligned((1, LANES, -(-features // LANES), LANES))
            return kernel, (x, dy, transposed, sums, guard)
        kernel = convolution.convolution_backward_weights(
            *tile_sizes.convolution_weights(self.out_features, 1), 1, 1
        )
        pixel, no_bias = Axis(1), np.zeros((1, self.out_features), np.int64)
        return kernel, (
            _as_image(x),
            _as_image(dy),
            pixel,
            pixel,
            sums[None, :, :, None, None],
            no_bias,
            guard,
        )


def _as_image(array):
    """See features as the channels of an image of one pixel."""
    blocks, features, lanes = array.shape
    return array.reshape(blocks, features, 1, 1, lanes)
