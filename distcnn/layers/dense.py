"""The fully connected layer."""

from dataclasses import dataclass

import numpy as np

from distcnn.errors import NetError
from distcnn.kernels import convolution, tile_sizes
from distcnn.kernels import dense as kernels
from distcnn.kernels.axis import Axis
from distcnn.kernels.jit import Kernel
from distcnn.lanes import LANES, aligned
from distcnn.layers.argument_order import refuse_as_pytorch, remember_positions
from distcnn.layers.base import Layer, LayerBuffers
from distcnn.layers.checks import check_whole, check_yes_or_no, is_whole
from distcnn.layers.declarations import RELU, Call, Fusion, Parameter, Shape

NUMBER = 4  # bytes
FAR = 2 * 2**20  # bytes of weights; more do not fit into the caches of a core
AHEAD = 2  # how many tiles ahead sums are prefetched if they do not fit


@remember_positions
@dataclass(frozen=True)
class Dense(Layer):
    """y[o] = bias[o] + sum over i of weight[o, i] * x[i] (PyTorch's Linear): (features,) -> (out_features,).

    weight: (out_features, features).
    bias: (out_features,).
    """

    out_features: int
    bias: bool = True

    fusion = Fusion(forward=(RELU,), backward=(RELU,))

    def __post_init__(self) -> None:
        check_whole(self, 1, out_features=self.out_features)
        if len(self.by_position) == 2 and is_whole(self.bias, 0):
            remedy = f"Dense({self.bias}), or bias=True or bias=False by name"
            refuse_as_pytorch(self, "the features of the input", remedy)
        check_yes_or_no(self, bias=self.bias)

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            remedy = "put a Flatten() before it"
            raise NetError(f"{self} wants features, but its input has shape {shape}: {remedy}")
        return (self.out_features,)

    def parameters(self, shape: Shape) -> dict[str, Parameter]:
        weight = Parameter((self.out_features, shape[0]), fan_in=shape[0])
        bias = {"bias": Parameter((self.out_features,))} if self.bias else {}
        return {"weight": weight} | bias

    def forward(self, buffers: LayerBuffers) -> list[Call]:
        weight = buffers.parameters["weight"]
        bias = buffers.parameters.get("bias", np.zeros(self.out_features, np.float32))
        kernel = kernels.dense_forward(tile_sizes.dense(self.out_features, buffers.x.shape[0]), buffers.relu)
        return [(kernel, (buffers.x.array, weight, bias, buffers.y.array))]

    def backward(self, buffers: LayerBuffers) -> list[Call]:
        dy = buffers.dy.array
        calls = [] if buffers.frozen else [self._backward_weights(buffers)]
        if self.bias and not buffers.frozen:
            kernel = convolution.bias_gradient(tile_sizes.sums(self.out_features))
            calls.append((kernel, (_as_image(dy), buffers.sums["bias"], buffers.guard)))
        if buffers.dx:
            kernel = self._data_kernel(buffers.x.shape[0], buffers.mask)
            calls.append((kernel, (dy, buffers.parameters["weight"], buffers.x.array, buffers.dx.array)))
        return calls

    def _backward_weights(self, buffers: LayerBuffers) -> Call:
        features = buffers.x.shape[0]
        if features < LANES:
            return self._backward_few_weights(buffers)
        ahead = AHEAD if self._is_far(features) else 0
        tile = tile_sizes.dense_weights(self.out_features, features, ahead)
        kernel = kernels.dense_backward_weights(*tile, ahead)
        transposed = aligned((1, LANES, -(-features // LANES), LANES))
        x, dy, sums = buffers.x.array, buffers.dy.array, buffers.sums["weight"]
        return kernel, (x, dy, transposed, sums, buffers.guard)

    def _backward_few_weights(self, buffers: LayerBuffers) -> Call:
        """Return the call for fewer features than lanes: a convolution of images of one pixel has the same gradient."""
        tile = tile_sizes.convolution_weights(self.out_features, 1)
        kernel = convolution.convolution_backward_weights(*tile, 1, 1)
        pixel, no_bias = Axis(1), np.zeros((1, self.out_features), np.int64)
        x, dy = _as_image(buffers.x.array), _as_image(buffers.dy.array)
        sums = buffers.sums["weight"][None, :, :, None, None]
        return kernel, (x, dy, pixel, pixel, sums, no_bias, buffers.guard)

    def _data_kernel(self, features: int, mask: bool) -> Kernel:
        if self._is_far(features):
            return kernels.dense_backward_data_far(tile_sizes.dense_far(features), mask)
        return kernels.dense_backward_data(tile_sizes.dense(features), mask)

    def _is_far(self, features: int) -> bool:
        return NUMBER * self.out_features * features > FAR


def _as_image(array: np.ndarray) -> np.ndarray:
    """Return features as the channels of an image of one pixel."""
    blocks, features, lanes = array.shape
    return array.reshape(blocks, features, 1, 1, lanes)
