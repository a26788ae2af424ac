"""Winograd's algorithm along rows against the naive formulas in float64, and the same bits on AVX2."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import oracle
import pytest
from test_layers import normal
from test_winograd import distance

from distcnn import Net, models
from distcnn.errors import Diverged
from distcnn.layers import Conv2D, Dense, Flatten, ReLU, TableConv2D
from distcnn.layers.convolution import winograd_rows

CASES = [  # out_channels, kernel_size, padding, input shape, samples
    (16, 5, 0, (6, 14, 14), 17),  # LeNet-5
    (17, 5, 2, (7, 6, 9), 3),  # an odd number of columns, and of outputs
    (16, (3, 5), (4, 3), (5, 4, 5), 2),  # windows that lie outside, above and below
    (3, (1, 5), (0, 1), (8, 2, 4), 33),  # one pair
    (9, 5, (0, 4), (3, 5, 3), 2),  # more padding than image
    (48, 5, 2, (8, 3, 40), 2),  # many outputs
    (48, 5, 2, (9, 3, 40), 2),  # the same, and tiles that overlap
]


def made(outputs, kernel_size, padding, shape, conv="winograd"):
    """Return a net of one layer with a bias."""
    net = Net([Conv2D(outputs, kernel_size, padding=padding)], shape, conv=conv)
    net.parameters["0.bias"][:] = normal(outputs, seed=5)
    return net


@pytest.mark.parametrize(("outputs", "kernel_size", "padding", "shape", "n"), CASES)
def test_one_layer_agrees_with_the_formulas(outputs, kernel_size, padding, shape, n):
    net = made(outputs, kernel_size, padding, shape)
    assert net.layers[0].kept(shape), "this is to be done along rows"
    weight, bias = net.parameters["0.weight"], net.parameters["0.bias"]
    x = normal(n, *shape)
    y = net.forward(x)
    dy = normal(*y.shape, seed=9)
    dx = net.backward(dy)
    wanted = oracle.convolve_backward(x, weight, dy, 1, padding)
    assert distance(y, oracle.convolve(x, weight, bias, 1, padding)) < 1e-6
    assert distance(dx, wanted[0]) < 1e-6
    assert distance(net.gradients["0.weight"], wanted[1]) < 1e-6
    assert distance(net.gradients["0.bias"], wanted[2]) < 1e-6


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2D(16, 5, stride=(2, 1)), (6, 14, 14)),
        (Conv2D(16, 5, dilation=(1, 2)), (6, 14, 14)),
        (Conv2D(16, 5, groups=2), (16, 14, 14)),
        (Conv2D(16, (5, 4)), (6, 14, 14)),
        (Conv2D(16, 5), (6, 14, 5)),
        (Conv2D(6, 5, padding=2), (1, 28, 28)),
        (Conv2D(16, 5).using("direct"), (6, 14, 14)),
    ],
)
def test_what_does_not_fit_or_not_pay_is_done_directly(layer, shape):
    assert not layer.kept(shape)


def test_pairs_of_columns_that_are_half_empty_cost_little():
    assert [width for width in range(1, 9) if winograd_rows.is_faster(8, 8, width)] == [2, 4, 5, 6, 7, 8]


def test_a_table_of_connections_is_done_along_rows_too():
    """Filters that the table leaves out are 0, and gradients are those of the others."""
    table = tuple((o % 4, (o + 1) % 4) for o in range(16))
    x, nets = (
        normal(3, 4, 8, 12),
        [Net([TableConv2D(table, 5)], (4, 8, 12), conv=conv) for conv in ("winograd", "direct")],
    )
    ours, wanted = (net.forward(x) for net in nets)
    assert 0 < distance(ours, wanted) < 1e-6
    for net in nets:
        net.backward(normal(*ours.shape))
    assert 0 < distance(nets[0].gradients["0.weight"], nets[1].gradients["0.weight"]) < 1e-6


def test_what_is_written_into_weights_holds_from_the_next_call_on():
    net, x = made(16, 5, 0, (6, 14, 14)), normal(2, 6, 14, 14)
    net.parameters["0.bias"][:] = 0
    y = net.forward(x)
    dx = net.backward(y)
    net.parameters["0.weight"][...] *= 2
    assert np.array_equal(net.predict(x), 2 * y)
    net.forward(x)
    assert np.array_equal(net.backward(y), 2 * dx)


@pytest.mark.parametrize("where", ["0.weight", "0.bias"])
def test_nan_is_noticed(where):
    net = Net([Conv2D(16, 5, padding=2), ReLU(), Flatten(), Dense(3)], (6, 4, 6))
    net.parameters[where].flat[7] = np.nan
    with pytest.raises(Diverged):
        net.loss_and_gradients(normal(2, 6, 4, 6), np.zeros(2, int))


def test_nan_in_the_gradient_alone_is_noticed():
    net, x = made(16, 5, 0, (6, 14, 14)), normal(18, 6, 14, 14)
    dy = np.zeros_like(net.forward(x))
    dy[17, 3, 2, 1] = np.nan
    with pytest.raises(Diverged):
        net.backward(dy)


def digest():
    """Return a hash of what odd layers and a whole net compute."""
    found = hashlib.sha256()
    for outputs, kernel_size, padding, shape, n in CASES[:3]:
        net = made(outputs, kernel_size, padding, shape)
        y = net.forward(normal(n, *shape))
        for scale in (1, 3e4):  # sums beyond 2**14, which AVX2 converts in another way
            dx = net.backward(np.float32(scale) * normal(*y.shape))
            found.update(y.tobytes() + dx.tobytes() + net.sums.tobytes())
    net = Net(models.lenet5((1, 28, 28), 10), (1, 28, 28))
    net.loss_and_gradients(normal(18, 1, 28, 28), np.arange(18) % 10)
    found.update(net.sums.tobytes())
    return found.hexdigest()


def test_the_bits_are_those_of_avx2():
    environment = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi2"}
    script = "import test_winograd_rows; print(test_winograd_rows.digest())"
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == digest()
