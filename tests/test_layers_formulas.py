"""Layers against their formula in float64, its numerical derivative, and PyTorch where it has the layer."""

import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import NetError
from distcnn.layers import (
    GELU,
    Dense,
    Flatten,
    GaussianPool2D,
    GlobalMeanPool2D,
    LocallyConnected2D,
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
from distcnn.models.lenet5_1998 import TABLE
from tests.helpers import oracle
from tests.helpers.arrays import close, normal

pytestmark = pytest.mark.check


def check(layer, formula, shape, n=3, theirs=None):
    """Compare forward and every gradient of a layer (or a few) with formula(x, **parameters), and with PyTorch's."""
    net = Net(layer if isinstance(layer, list) else [layer], shape)
    for number, view in enumerate(net.parameters.values()):
        view[...] = normal(*view.shape, seed=number + 1)
    parameters = {key.split(".")[1]: view.astype(np.float64) for key, view in net.parameters.items()}
    x = normal(n, *shape)
    y = net.forward(x)
    assert close(y, formula(x, **parameters))
    dy = normal(*y.shape, seed=7)
    dx, gradients = net.backward(dy), net.gradients
    assert close(dx, oracle.derivative(lambda value: formula(value, **parameters), x, dy))
    for name, value in parameters.items():
        changed = oracle.derivative(lambda v, name=name: formula(x, **(parameters | {name: v})), value, dy)
        assert close(gradients[f"0.{name}"], changed, summands=dy), name
    if theirs:
        check_against_torch(theirs, x, y, dy, dx)


def check_against_torch(module, x, y, dy, dx):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensor = torch.from_numpy(x).requires_grad_()
    result = module(torch)(tensor)
    assert close(y, result.detach().numpy())
    result.backward(torch.from_numpy(dy))
    assert close(dx, tensor.grad.numpy())


POOLS = [  # kernel_size, stride, padding, ceil_mode, input shape
    (2, None, 0, False, (3, 8, 6)),
    (2, None, 0, False, (2, 7, 9)),  # leaves out the last row and column
    (2, None, 0, True, (2, 7, 9)),  # partial windows
    (3, 2, 1, False, (2, 9, 10)),  # windows overlap
    (3, 2, 1, True, (2, 8, 8)),  # overlapping, padded and cut off
    (3, 1, 1, False, (1, 5, 4)),
    (2, 3, 0, False, (1, 8, 9)),  # gaps between windows
    (5, 5, 2, True, (1, 6, 11)),
    (6, 6, 0, False, (2, 6, 6)),
    (1, 2, 0, False, (2, 5, 5)),
    ((3, 2), (2, 1), (1, 0), True, (2, 6, 5)),
    ((1, 4), None, 0, False, (1, 3, 8)),
    ((9, 8), (9, 6), 0, False, (1, 9, 14)),  # too large for tiles in registers
]
pools = pytest.mark.parametrize(("kernel_size", "stride", "padding", "ceil_mode", "shape"), POOLS)


@pools
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_mean_pool(kernel_size, stride, padding, ceil_mode, shape, count_include_pad):
    options = kernel_size, stride, padding, ceil_mode, count_include_pad

    def formula(x):
        return oracle.mean_pool(x, kernel_size, stride or kernel_size, padding, ceil_mode, count_include_pad)

    check(MeanPool2D(*options), formula, shape, theirs=lambda torch: torch.nn.AvgPool2d(*options))


@pools
@pytest.mark.parametrize("sigma", [0.2, 0.8, 30.0])
def test_gaussian_pool(kernel_size, stride, padding, ceil_mode, shape, sigma):
    def formula(x):
        weigh = oracle.gaussian(kernel_size, sigma)
        return oracle.weighted_pool(x, kernel_size, stride or kernel_size, padding, ceil_mode, weigh)

    check(GaussianPool2D(kernel_size, sigma, stride, padding, ceil_mode), formula, shape)


@pools
def test_trainable_pool(kernel_size, stride, padding, ceil_mode, shape):
    def formula(x, coefficient, bias):
        options = kernel_size, stride or kernel_size, padding, ceil_mode
        sums = oracle.weighted_pool(x, *options, lambda rows, columns: 1.0)
        return coefficient[:, None, None] * sums + bias[:, None, None]

    check(TrainablePool2D(kernel_size, stride, padding, ceil_mode), formula, shape)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 1, 1), (2, 7, 1)])
def test_global_mean_pool(shape):
    def formula(x):
        return x.astype(np.float64).mean(axis=(2, 3), keepdims=True)

    check(GlobalMeanPool2D(), formula, shape, theirs=lambda torch: torch.nn.AdaptiveAvgPool2d(1))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LocallyConnected2D(3, 3), (2, 5, 6)),  # 18 features: two overlapping groups
        (LocallyConnected2D(5, 3, 2, 1), (1, 6, 5)),  # 9 features
        (LocallyConnected2D(1, 1), (2, 3, 4)),
        (LocallyConnected2D(7, 4), (1, 4, 4)),  # one place: a fully connected layer
        (LocallyConnected2D(2, 2, 3, 2), (4, 4, 5)),  # 16 features; gaps, windows that lie in the padding
        (LocallyConnected2D(2, (1, 3), (2, 1), (0, 2), (1, 2)), (2, 3, 4)),
    ],
    ids=str,
)
def test_locally_connected(layer, shape):
    def formula(x, weight, bias):
        return oracle.connect_locally(x, weight, bias, layer.stride, layer.padding, layer.dilation)

    check(layer, formula, shape)


def test_locally_connected_without_bias():
    def formula(x, weight):
        return oracle.connect_locally(x, weight, np.zeros(weight.shape[:3]), 1, 0)

    check(LocallyConnected2D(3, 2, bias=False), formula, (2, 3, 3))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("table", "shape"),
    [
        (((0, 2), (1,), (2, 0, 1), (1, 2)), (3, 5, 6)),  # in any order
        (((3,),), (4, 4, 4)),
        (TABLE, (6, 6, 5)),
    ],
)
def test_table_of_connections(table, shape, relu):
    def formula(x, weight, bias):
        whole = np.zeros((len(table), shape[0], 3, 3))
        for p, (o, c) in enumerate((o, c) for o, row in enumerate(table) for c in row):
            whole[o, c] = weight[p]
        y = oracle.convolve(x, whole, 0, 1, 1) + bias[:, None, None]
        return np.maximum(y, 0) if relu else y

    check([TableConv2D(table, 3, padding=1), *([ReLU()] if relu else [])], formula, shape, n=2)


def test_radial_basis():
    centers = normal(4, 12, seed=5)

    def formula(x):
        return oracle.radial_basis(x.reshape(len(x), 12), centers)

    check([Flatten(), RadialBasis(centers)], formula, (3, 2, 2))


@pytest.mark.parametrize("rejection", [0.5, 7.0, 1e4])
def test_loss_with_a_class_to_which_no_sample_belongs(rejection):
    """As LeCun et al. 1998, equation 9: far wrong answers are not pushed farther than the rejection."""
    centers, x, labels = normal(5, 6, seed=2), normal(19, 6, 1, 1), np.arange(19) % 5
    net = Net([Flatten(), Dense(6), RadialBasis(centers, rejection)], (6, 1, 1))
    loss, gradients = net.loss_and_gradients(x, labels)
    features = x.reshape(19, 6) @ net.parameters["1.weight"].T
    wanted, dlogits = oracle.softmax_cross_entropy(net.predict(x), labels, -rejection)
    dfeatures = oracle.derivative(lambda value: oracle.radial_basis(value, centers), features, dlogits)
    assert loss == pytest.approx(wanted, rel=1e-5)
    assert np.allclose(gradients["1.bias"], dfeatures.sum(axis=0), atol=1e-5)


ACTIVATIONS = [
    (Sigmoid(), oracle.sigmoid, lambda torch: torch.nn.Sigmoid()),
    (Tanh(), oracle.tanh, lambda torch: torch.nn.Tanh()),
    (Tanh(1.7159, 2 / 3), lambda x: oracle.tanh(x, 1.7159, 2 / 3), None),
    (SiLU(), oracle.silu, lambda torch: torch.nn.SiLU()),
    (GELU(), oracle.gelu, lambda torch: torch.nn.GELU()),
    (Softmax(), oracle.softmax, lambda torch: torch.nn.Softmax(dim=1)),
]


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 2, 17)])
@pytest.mark.parametrize(("layer", "formula", "theirs"), ACTIVATIONS, ids=repr)
def test_activation(layer, formula, theirs, shape):
    check(layer, formula, shape, n=2, theirs=theirs)


@pytest.mark.parametrize(("layer", "formula", "theirs"), ACTIVATIONS, ids=repr)
def test_activation_of_features(layer, formula, theirs):
    net, x, dy = Net([Flatten(), layer], (7, 2, 3)), 3 * normal(18, 7, 2, 3), normal(18, 42, seed=1)
    flat = x.reshape(18, 42)
    assert close(net.forward(x), formula(flat))
    assert close(net.backward(dy).reshape(18, 42), oracle.derivative(formula, flat, dy))


@pytest.mark.parametrize(("layer", "formula", "theirs"), ACTIVATIONS, ids=repr)
def test_activation_far_from_zero(layer, formula, theirs):
    x = np.array([-1e38, -200.0, -88.0, 0.0, 1e-30, 60.0, 100.0, 1e38], np.float32).reshape(1, 8, 1, 1)
    with np.errstate(over="ignore"):
        wanted = formula(x)
    assert np.allclose(Net([layer], (8, 1, 1)).predict(x), wanted, rtol=1e-6, atol=1e-44)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Tanh(slope=0), "slope"),
        (lambda: GaussianPool2D(3, -1.0), "sigma"),
        (lambda: GaussianPool2D(3, 1.0, padding=2), "padding"),
        (lambda: MeanPool2D(2, stride=0), "stride"),
        (lambda: LocallyConnected2D(0, 3), "out_channels"),
        (lambda: TableConv2D(((0, 0),), 3), "connections"),
        (lambda: TableConv2D(((),), 3), "connections"),
        (lambda: TableConv2D(3, 3), "connections"),
        (lambda: Net([TableConv2D(((0, 3),), 3)], (3, 4, 4)), "input map 3"),
        (lambda: RadialBasis([[0.0, np.nan]]), "centers"),
        (lambda: RadialBasis(np.ones((2, 3)), rejection=-1), "rejection"),
        (lambda: Net([Flatten(), RadialBasis(np.ones((2, 3)))], (1, 2, 2)), "3 features"),
        (lambda: Net([Flatten(), GlobalMeanPool2D()], (1, 2, 2)), "images"),
    ],
)
def test_mistakes_are_refused(make, word):
    with pytest.raises(NetError, match=word):
        make()


def test_weights_of_a_window_are_exact_to_rounding():
    """A Gaussian so narrow that all but the nearest pixel underflow still gives that pixel."""
    x = normal(1, 1, 3, 3)
    assert np.allclose(Net([GaussianPool2D(3, 1e-200)], (1, 3, 3)).predict(x), x[0, 0, 1, 1])
    assert np.allclose(
        Net([GaussianPool2D(2, 1e-200)], (1, 2, 2)).predict(x[..., :2, :2]), x[0, 0, :2, :2].mean()
    )
