"""`distcnn.testing.check_layer` accepts all layers of distcnn, and refuses layers that are wrong in one way each."""

from dataclasses import dataclass

import numpy as np
import pytest

from distcnn.layers import (
    GELU,
    BatchNorm2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianPool2D,
    GlobalMeanPool2D,
    Layer,
    LocallyConnected2D,
    MaxPool2D,
    MeanPool2D,
    RadialBasis,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    TableConv2D,
    Tanh,
    TrainablePool2D,
)
from distcnn.layers.declarations import Parameter
from distcnn.numerics.fixed_point import QUANTUM
from distcnn.testing import check_layer

LAYERS = [
    *(Conv2D(3, 3, padding=1), Conv2D(4, 3, groups=2, bias=False), Conv2D(2, (5, 3), stride=2)),
    *(
        TableConv2D(((0, 1), (1,)), 3),
        LocallyConnected2D(2, 3),
        ReLU(),
        Sigmoid(),
        SiLU(),
        GELU(),
        Tanh(1.7159, 2 / 3),
    ),
    *(
        MaxPool2D(2),
        MeanPool2D(3, 2),
        GaussianPool2D(2, 0.7),
        TrainablePool2D(2),
        GlobalMeanPool2D(),
        BatchNorm2D(),
    ),
    *(Dropout(0.5), Flatten(), Softmax()),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_all_layers_pass(layer):
    check_layer(layer, (2, 7, 6))


@pytest.mark.parametrize("layer", [Dense(4), RadialBasis(np.eye(3, 5)), ReLU()], ids=str)
def test_layers_of_features_pass(layer):
    check_layer(layer, (5,))


def forward(weight, x, y):
    np.multiply(x, weight[0], out=y)


def backward(weight, x, dy, sums, dx):
    np.multiply(dy, weight[0], out=dx)
    sums[0] += int(np.rint((x * dy).sum(dtype=np.float64) / QUANTUM))


@dataclass(frozen=True)
class Scale(Layer):
    """A layer in NumPy with one parameter, and the mistake that its argument names."""

    forward_call: object = forward
    backward_call: object = backward

    def output_shape(self, shape):
        return shape

    def parameters(self, shape):
        return {"weight": Parameter((1,), start=1.5)}

    def forward(self, buffers):
        return [(self.forward_call, (buffers.parameters["weight"], buffers.x.array, buffers.y.array))]

    def backward(self, buffers):
        dx = np.empty_like(buffers.x.array) if buffers.dx is None else buffers.dx.array
        arrays = buffers.parameters["weight"], buffers.x.array, buffers.dy.array, buffers.sums["weight"], dx
        return [(self.backward_call, arrays)]


def test_a_right_layer_of_the_users_passes():
    check_layer(Scale(), (2, 4, 5))


def sum_of_lanes(weight, x, y):
    np.add(x * weight[0], x.sum(axis=-1, keepdims=True), out=y)


def remembers(weight, x, y):
    y[...] = 0.5 * y + x * weight[0]


def hides_nan(weight, x, y):
    np.nan_to_num(x * weight[0], copy=False, nan=0.0)
    y[...] = np.nan_to_num(x * weight[0])


def infinite(weight, x, y):
    y[...] = np.where(x > 3, np.inf, x * weight[0])


def wrong_dx(weight, x, dy, sums, dx):
    backward(weight, x, dy, sums, dx)
    dx[:, 0, 0, 0] *= 1.1


def wrong_gradient(weight, x, dy, sums, dx):
    backward(weight, x, dy, sums, dx)
    backward(weight, x, dy, sums, dx)


def ordered(weight, x, dy, sums, dx):
    backward(weight, x, dy, sums, dx)
    sums[0] = int(np.float32(sums[0]))


WRONG = {
    "forward of sample 0 alone gives other bits than in a batch": Scale(sum_of_lanes),
    "a second call gives other bits": Scale(remembers),
    "a sample of NaN gives numbers": Scale(hides_nan),
    "numbers that are not finite": Scale(infinite),
    "dx differs from differences": Scale(forward, wrong_dx),
    "the gradient of weight differs from differences at 1 of 1 places": Scale(forward, wrong_gradient),
    "depend on the order of blocks": Scale(forward, ordered),
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_layer_is_refused(message):
    with pytest.raises(AssertionError, match=message):
        check_layer(WRONG[message], (2, 4, 5))
