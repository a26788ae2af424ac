"""Winograd's algorithm along rows against the naive formulas in float64, and the same bits on AVX2."""

import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import Diverged
from distcnn.layers import Conv2D, Dense, Flatten, ReLU, TableConv2D
from distcnn.layers.convolution import winograd_rows
from tests.helpers import oracle
from tests.helpers.arrays import distance, normal
from tests.helpers.processors import AVX2, on_x86
from tests.helpers.winograd_cases import ROW_CASES, convolution_net, row_digest

pytestmark = pytest.mark.check


@pytest.mark.parametrize(("outputs", "kernel_size", "padding", "shape", "n"), ROW_CASES)
def test_one_layer_agrees_with_the_formulas(outputs, kernel_size, padding, shape, n):
    net = convolution_net(outputs, kernel_size, padding, shape)
    assert net.layers[0].saved(shape), "this is to be done along rows"
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
    assert not layer.saved(shape)


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
    net, x = convolution_net(16, 5, 0, (6, 14, 14)), normal(2, 6, 14, 14)
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


def test_nan_only_in_the_gradient_is_noticed():
    net, x = convolution_net(16, 5, 0, (6, 14, 14)), normal(18, 6, 14, 14)
    dy = np.zeros_like(net.forward(x))
    dy[17, 3, 2, 1] = np.nan
    with pytest.raises(Diverged):
        net.backward(dy)


@on_x86
@pytest.mark.slow
def test_the_bits_are_those_of_avx2(run):
    script = "from tests.helpers import winograd_cases; print(winograd_cases.row_digest())"
    done = run("python", "-c", script, env=AVX2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == row_digest()
