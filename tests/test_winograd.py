"""Winograd's algorithm against the naive formulas in float64: any size and padding, and the same bits on AVX2."""

import numpy as np
import pytest

from distcnn import Net, models
from distcnn.errors import Diverged
from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distcnn.layers.convolution import conv2d, winograd
from distcnn.numerics.fixed_point import QUANTUM
from tests.helpers import oracle
from tests.helpers.arrays import distance, normal
from tests.helpers.processors import AVX2, on_x86
from tests.helpers.winograd_cases import TILE_CASES, tile_digest

pytestmark = pytest.mark.check


@pytest.fixture
def always(monkeypatch):
    """Use Winograd's algorithm wherever it is possible, whether it is faster or not."""
    conv2d.algorithms.cache_clear()
    monkeypatch.setattr(winograd, "is_faster", lambda *shape: True)
    monkeypatch.setattr(winograd, "is_faster_for_weights", lambda channels, *shape: channels >= 16)
    yield
    conv2d.algorithms.cache_clear()


@pytest.mark.parametrize(("outputs", "padding", "shape", "n"), TILE_CASES)
@pytest.mark.usefixtures("always")
def test_one_layer_agrees_with_the_formulas(outputs, padding, shape, n):
    net = Net([Conv2D(outputs, 3, padding=padding)], shape)
    weight, bias = net.parameters["0.weight"], net.parameters["0.bias"]
    bias[:] = normal(outputs, seed=5)
    x = normal(n, *shape)
    y = net.forward(x)
    dy = normal(*y.shape, seed=9)
    dx = net.backward(dy)
    wanted = oracle.convolve_backward(x, weight, dy, 1, padding)
    assert distance(y, oracle.convolve(x, weight, bias, 1, padding)) < 3e-6
    assert distance(dx, wanted[0]) < 3e-6
    assert distance(net.gradients["0.weight"], wanted[1]) < 5e-6
    assert distance(net.gradients["0.bias"], wanted[2]) < 1e-6


def test_direct_is_another_algorithm_and_nearer():
    """The switch works: other bits, and less rounding."""
    x, nets = (
        normal(2, 32, 12, 12),
        {c: Net([Conv2D(32, 3)], (32, 12, 12), conv=c) for c in ("winograd", "direct")},
    )
    wanted = oracle.convolve(x, nets["direct"].parameters["0.weight"], 0, 1, 0)
    assert distance(nets["direct"].forward(x), wanted) < distance(nets["winograd"].forward(x), wanted) / 2


def naive_gradients(net, x, labels):
    """Return the gradients of the mean loss, in float64, layer by layer."""
    values, gradients = [x.astype(np.float64)], {}
    of = net.parameters.get
    for k, layer in enumerate(net.layers):
        x = values[-1]
        match layer:
            case Conv2D():
                y = oracle.convolve(x, of(f"{k}.weight"), of(f"{k}.bias"), 1, 1)
            case ReLU():
                y = np.maximum(x, 0)
            case MaxPool2D():
                y = oracle.max_pool(x, 2, 2, 0, False)
            case Flatten():
                y = x.reshape(len(x), -1)
            case Dense():
                y = x @ of(f"{k}.weight").T.astype(np.float64) + of(f"{k}.bias")
        values.append(y)
    _, dy = oracle.softmax_cross_entropy(values[-1], labels)
    for k in reversed(range(len(net.layers))):
        x, y, weight = values[k], values[k + 1], of(f"{k}.weight")
        match net.layers[k]:
            case Conv2D():
                dy, gradients[f"{k}.weight"], gradients[f"{k}.bias"] = oracle.convolve_backward(
                    x, weight, dy, 1, 1
                )
            case ReLU():
                dy = dy * (y > 0)
            case MaxPool2D():
                dy = oracle.max_pool_backward(x, dy, 2, 2, 0, False)
            case Flatten():
                dy = dy.reshape(x.shape)
            case Dense():
                gradients[f"{k}.weight"], gradients[f"{k}.bias"] = dy.T @ x, dy.sum(axis=0)
                dy = dy @ weight.astype(np.float64)
    return gradients


@pytest.mark.parametrize("conv", ["winograd", "direct"])
def test_gradients_of_a_whole_net_are_those_of_float64(conv):
    """As nets start: gradients, the exact sums' rounding included, within 1e-5 of float64 relative to their norm."""
    shape, n = (3, 16, 16), 5
    net = Net(models.MODELS["vgg-small"].layers(shape, 10), shape, seed=2, conv=conv)
    x, labels = normal(n, *shape), np.arange(n)
    wanted = naive_gradients(net, x, labels)
    for name, ours in net.loss_and_gradients(x, labels)[1].items():
        small = np.mean((np.abs(wanted[name] * n) < QUANTUM / 2) & (wanted[name] != 0))
        print(f"{name:10s} {distance(ours, wanted[name]):.1e}, below the quantum: {small:.2%}")
        assert distance(ours, wanted[name]) < 1e-5, name


def test_what_is_written_into_weights_holds_from_the_next_call_on():
    net, x = Net([Conv2D(16, 3)], (16, 6, 6)), normal(3, 16, 6, 6)
    y = net.predict(x)
    net.parameters["0.weight"][...] *= 2
    assert np.array_equal(net.predict(x), 2 * y)
    dy = normal(*y.shape, seed=1)
    net.forward(x)
    dx = net.backward(dy)
    net.parameters["0.weight"][...] *= 2
    net.forward(x)
    assert np.array_equal(net.backward(dy), 2 * dx)


@pytest.mark.parametrize("where", ["0.weight", "0.bias"])
def test_nan_is_noticed(where):
    net = Net([Conv2D(16, 3, padding=1), ReLU(), Conv2D(16, 3), Flatten(), Dense(3)], (16, 6, 6))
    net.parameters[where].flat[7] = np.nan
    with pytest.raises(Diverged):
        net.loss_and_gradients(normal(2, 16, 6, 6), np.zeros(2, int))


def test_nan_only_in_the_gradient_is_noticed():
    net, x = Net([Conv2D(16, 3)], (16, 6, 6)), normal(18, 16, 6, 6)
    dy = np.zeros_like(net.forward(x))
    dy[17, 3, 2, 1] = np.nan
    with pytest.raises(Diverged):
        net.backward(dy)
    net.backward(np.zeros_like(dy))


@on_x86
@pytest.mark.slow
def test_the_bits_are_those_of_avx2(run):
    script = "from tests.helpers import winograd_cases; print(winograd_cases.tile_digest())"
    done = run("python", "-c", script, env=AVX2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == tile_digest()
