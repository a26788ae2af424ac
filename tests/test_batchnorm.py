"""Batch normalization: a block's statistics and their gradients, and running statistics that all ranks share."""

import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import NetError
from distcnn.layers import BatchNorm2D, Conv2D, Dense, Flatten, ReLU
from distcnn.network.plan import Block
from distcnn.network.worker import STATISTICS_MOMENTUM
from distcnn.numerics.fixed_point import HEAD
from tests.helpers import oracle
from tests.helpers.arrays import close, normal

pytestmark = pytest.mark.check

SHAPE = (3, 4, 5)


def made(*behind, shape=SHAPE, norm_group=1):
    net = Net([BatchNorm2D(), *behind], shape, norm_group=norm_group)
    net.parameters["0.weight"][...], net.parameters["0.bias"][...] = normal(2, shape[0], seed=8)
    return net


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("shape", "n"), [(SHAPE, 16), (SHAPE, 5), ((2, 1, 1), 3), ((1, 9, 2), 1)])
def test_one_block(shape, n, relu):
    net = made(*([ReLU()] if relu else []), shape=shape)
    gamma, beta = (view.astype(np.float64) for view in net.parameters.values())

    def formula(x, gamma=gamma, beta=beta):
        y = oracle.batch_norm(x, gamma, beta, 1e-5)
        return np.maximum(y, 0) if relu else y

    x, dy = 3 + normal(n, *shape), normal(n, *shape, seed=4)
    assert close(net.forward(x), formula(x), summands=1)
    assert close(net.backward(dy), oracle.derivative(formula, x, dy), summands=1)
    for key, derivative in (
        ("0.weight", oracle.derivative(lambda value: formula(x, gamma=value), gamma, dy)),
        ("0.bias", oracle.derivative(lambda value: formula(x, beta=value), beta, dy)),
    ):
        assert close(net.gradients[key], derivative, summands=dy)


GROUPS = [(3, 48), (3, 37), (2, 17), (4, 9), ("global", 70), ("global", 1)]


@pytest.mark.parametrize(("norm_group", "n"), GROUPS)
def test_a_group_of_blocks(norm_group, n):
    """By numerical differentiation of the formula over all samples; means far from 0 and far from each other."""
    net, shape = made(ReLU(), shape=(2, 1, 3), norm_group=norm_group), (2, 1, 3)
    gamma, beta = (view.astype(np.float64) for view in net.parameters.values())

    def formula(x, gamma=gamma, beta=beta):
        return np.maximum(oracle.batch_norm(x, gamma, beta, 1e-5), 0)

    x, dy = normal(n, *shape), normal(n, *shape, seed=4)
    x += 30 + np.arange(n, dtype=np.float32)[:, None, None, None] // 16
    assert close(net.forward(x), formula(x), summands=30)
    assert close(net.backward(dy), oracle.derivative(formula, x, dy), summands=30)
    for key, derivative in (
        ("0.weight", oracle.derivative(lambda value: formula(x, gamma=value), gamma, dy)),
        ("0.bias", oracle.derivative(lambda value: formula(x, beta=value), beta, dy)),
    ):
        assert close(net.gradients[key], derivative, summands=30 * np.abs(dy))


@pytest.mark.parametrize(("norm_group", "n"), [(1, 2), (1, 16), (2, 25), (5, 80), ("global", 33)])
def test_agrees_with_pytorch(norm_group, n):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net, theirs = made(norm_group=norm_group), torch.nn.BatchNorm2d(3)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(net.parameters["0.weight"]))
        theirs.bias.copy_(torch.from_numpy(net.parameters["0.bias"]))
    for seed in range(3):
        x, dy = 2 + normal(n, *SHAPE, seed=seed), normal(n, *SHAPE, seed=9)
        tensor = torch.from_numpy(x).requires_grad_()
        y = theirs(tensor)
        y.backward(torch.from_numpy(dy))
        assert close(net.forward(x), y.detach().numpy(), summands=1)
        assert close(net.backward(dy), tensor.grad.numpy(), summands=1)
    assert close(net.arrays["0.running_mean"], theirs.running_mean.numpy(), summands=1)
    assert close(net.arrays["0.running_var"], theirs.running_var.numpy(), summands=1)
    theirs.eval()
    assert close(net.predict(x), theirs(torch.from_numpy(x)).detach().numpy(), summands=1)


def test_statistics_are_those_of_each_block():
    net, x = made(), normal(37, *SHAPE)
    y = net.forward(x)
    for start in (0, 16, 32):
        assert np.array_equal(y[start : start + 16], made().forward(x[start : start + 16]))
    mean = sum(len(part) * part.mean(axis=(0, 2, 3), dtype=float) for part in (x[:16], x[16:32], x[32:])) / 37
    assert np.allclose(net.arrays["0.running_mean"], STATISTICS_MOMENTUM * mean, atol=1e-6)


def test_groups_follow_one_another():
    """The last one of a batch may be smaller; running statistics are the mean over the samples of all of them."""
    net, x = made(norm_group=2), normal(37, *SHAPE)
    y = net.forward(x)
    for part in (x[:32], x[32:]):
        assert np.array_equal(y[: len(part)], made(norm_group=2).forward(part))
        y = y[len(part) :]
    mean = sum(len(part) * part.mean(axis=(0, 2, 3), dtype=float) for part in (x[:32], x[32:])) / 37
    assert np.allclose(net.arrays["0.running_mean"], STATISTICS_MOMENTUM * mean, atol=1e-6)


def test_a_group_that_is_none_is_refused():
    for wrong in (0, -1, True, 1.5, "all", None):
        with pytest.raises(NetError, match="norm_group"):
            made(norm_group=wrong)


def test_parameters_come_first_in_the_flat_buffer():
    net = Net([Conv2D(2, 3), BatchNorm2D(), ReLU(), Flatten(), Dense(3)], (1, 5, 5))
    assert list(net.parameters) == ["0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias"]
    assert list(net.arrays) == [*net.parameters, "1.running_mean", "1.running_var"]
    assert net.trained == sum(view.size for view in net.parameters.values()) == net.weights.size - 4


def test_prediction_moves_nothing():
    net = made()
    before = net.weights.copy()
    net.predict(normal(5, *SHAPE))
    assert np.array_equal(net.weights, before)
    net.forward(normal(5, *SHAPE))
    assert not np.array_equal(net.weights, before)


def test_what_lies_in_padded_lanes_changes_nothing():
    net = Net([BatchNorm2D(), Conv2D(2, 3), BatchNorm2D(), Flatten(), Dense(3)], SHAPE)
    images, labels = normal(20, *SHAPE), np.arange(20) % 3

    def sums(fill):
        net.sums[:] = 0
        net.start(1)
        block = Block.of(images, labels, np.arange(5))
        block.index[5:], block.label[5:] = fill, fill % 3
        net.train_group([block])
        return net.sums.copy()

    first = sums(6)
    assert np.abs(first[HEAD:]).max() > 0
    assert np.array_equal(first, sums(np.arange(9, 20)))
