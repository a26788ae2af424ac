"""Every layer, forward and backward, against the naive formulas: odd shapes, partial blocks, every option."""

import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import NetError
from distcnn.kernels.pointwise import pack
from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, MeanPool2D, ReLU, SaveAs, dense
from distcnn.layers.convolution import conv2d, direct, matmul
from distcnn.network.plan import Block
from distcnn.numerics.fixed_point import LOSS, QUANTUM
from tests.helpers import oracle
from tests.helpers.arrays import close, normal

pytestmark = pytest.mark.check

CONVOLUTIONS = [  # out_channels, kernel_size, stride, padding, input shape, samples
    (6, 5, 1, 2, (1, 28, 28), 17),
    (16, 5, 1, 0, (6, 14, 14), 16),
    (3, 3, 1, 1, (2, 7, 9), 5),
    (1, 1, 1, 0, (3, 4, 5), 3),
    (7, 1, 1, 0, (17, 3, 3), 2),
    (5, 3, 2, 1, (3, 9, 8), 18),
    (4, 2, 2, 0, (1, 5, 6), 1),
    (2, 3, 3, 2, (2, 8, 10), 4),
    (3, 2, 3, 0, (2, 8, 9), 4),  # stride above kernel_size: some pixels are never seen
    (9, 4, 1, 3, (2, 5, 6), 2),
    (5, 7, 1, 3, (2, 9, 8), 3),
    (2, 11, 4, 2, (1, 27, 25), 2),
    (2, 13, 1, 0, (1, 13, 13), 33),  # one output
    (13, 3, 1, 5, (1, 2, 3), 2),  # more padding than filter
]
POOLS = [  # kernel_size, stride, padding, ceil_mode, input shape
    (2, None, 0, False, (3, 8, 6)),
    (2, None, 0, False, (2, 7, 9)),  # leaves out the last row and column
    (2, None, 0, True, (2, 7, 9)),  # partial windows
    (3, 2, 1, False, (2, 9, 10)),  # windows overlap
    (3, 2, 0, True, (1, 8, 8)),
    (3, 1, 1, False, (1, 5, 4)),
    (2, 3, 0, False, (1, 8, 9)),  # gaps between windows
    (5, 5, 2, True, (1, 6, 11)),
    ((3, 2), (2, 1), (1, 0), True, (2, 8, 7)),
    ((1, 4), None, 0, False, (1, 3, 8)),
]


CASES = [  # layer, input shape, samples
    *((Conv2D(o, k, stride=s, padding=p), *case) for o, k, s, p, *case in CONVOLUTIONS),
    (Conv2D(3, (2, 5), (2, 1), (0, 2)), (2, 7, 9), 3),
    (Conv2D(4, (3, 1), (1, 3), (1, 0)), (3, 6, 10), 17),
    (Conv2D(3, 3, padding=(1, 0)), (2, 6, 7), 2),
    (Conv2D(5, 3, 1, 2, 2), (2, 7, 9), 3),
    (Conv2D(3, 3, 2, 3, 2), (2, 9, 8), 2),  # taps two apart at every second place: half of x is never seen
    (Conv2D(2, (2, 3), (4, 6), (3, 5), (6, 4)), (1, 11, 14), 4),
    (Conv2D(2, 3, stride=3, padding=1, dilation=2), (2, 10, 11), 2),
    (Conv2D(6, 3, 1, 1, groups=2), (4, 7, 9), 3),
    (Conv2D(6, (3, 2), (2, 1), (1, 0), 2, 3), (9, 8, 7), 18),
    (Conv2D(8, 1, groups=4), (4, 3, 5), 2),
    (Conv2D(5, 3, 1, 1, groups=5), (5, 8, 12), 4),  # depthwise
    (Conv2D(3, 3, 2, 1, groups=3), (3, 9, 10), 17),
    (Conv2D(12, 5, 1, 2, groups=6), (6, 9, 21), 2),
    (Conv2D(4, (1, 3), 1, (0, 2), 2, 4), (4, 3, 6), 1),
]


def fill(net):
    """Give all parameters, biases too, numbers that differ."""
    for number, view in enumerate(net.parameters.values()):
        view[...] = normal(*view.shape, seed=number) / np.sqrt(view[0].size)


@pytest.mark.parametrize(("layer", "shape", "n"), CASES, ids=str)
def test_convolution(layer, shape, n):
    net = Net([layer], shape)
    fill(net)
    weight, bias = net.parameters["0.weight"], net.parameters["0.bias"]
    options = layer.stride, layer.padding, layer.dilation, layer.groups
    x = normal(n, *shape)
    y = net.forward(x)
    assert close(y, oracle.convolve(x, weight, bias, *options))
    dy = normal(*y.shape, seed=9)
    dx = net.backward(dy)
    wanted = oracle.convolve_backward(x, weight, dy, *options)
    assert close(dx, wanted[0])
    assert close(net.gradients["0.weight"], wanted[1])
    assert close(net.gradients["0.bias"], wanted[2], summands=dy)


@pytest.mark.parametrize(("layer", "shape", "n"), CASES[len(CONVOLUTIONS) :], ids=str)
def test_convolution_agrees_with_pytorch(layer, shape, n):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = Net([layer], shape)
    fill(net)
    weight, bias = map(torch.from_numpy, net.parameters.values())
    options = layer.stride, layer.padding, layer.dilation, layer.groups
    x = normal(n, *shape)
    assert close(
        net.predict(x), torch.nn.functional.conv2d(torch.from_numpy(x), weight, bias, *options).numpy()
    )


def test_convolution_without_bias():
    net = Net([Conv2D(3, 3, bias=False)], (2, 5, 5))
    assert list(net.parameters) == ["0.weight"]
    x = normal(4, 2, 5, 5)
    assert close(net.forward(x), oracle.convolve(x, net.parameters["0.weight"], 0, 1, 0))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("kernel_size", "stride", "padding", "ceil_mode", "shape"), POOLS)
def test_max_pool(kernel_size, stride, padding, ceil_mode, shape, ties):
    net = Net([MaxPool2D(kernel_size, stride, padding, ceil_mode)], shape)
    x = normal(19, *shape)
    if ties:
        x = np.round(x)
    options = kernel_size, stride or kernel_size, padding, ceil_mode
    y = net.forward(x)
    assert np.array_equal(y, oracle.max_pool(x, *options))
    dy = normal(*y.shape, seed=3)
    assert close(net.backward(dy), oracle.max_pool_backward(x, dy, *options))


# An even window, an odd one, cut ones.
@pytest.mark.parametrize(("kernel_size", "padding"), [(2, 0), (3, 0), (2, 1)])
def test_max_pool_finds_a_nan_wherever_it_is(kernel_size, padding):
    net = Net([MaxPool2D(kernel_size, padding=padding)], (1, 6, 6))
    for pixel in np.ndindex(6, 6):
        x = normal(1, 1, 6, 6)
        x[0, 0][pixel] = np.nan
        assert np.isnan(net.forward(x)).sum() == 1


@pytest.mark.parametrize(
    ("features", "outputs", "n"), [(400, 120, 20), (17, 3, 16), (16, 11, 1), (5, 7, 33), (1, 1, 2)]
)
def test_dense(features, outputs, n):
    net = Net([Flatten(), Dense(outputs)], (features, 1, 1))
    fill(net)
    weight, bias = net.parameters["1.weight"], net.parameters["1.bias"]
    x, dy = normal(n, features, 1, 1), normal(n, outputs, seed=4)
    flat = x.reshape(n, features).astype(np.float64)
    assert close(net.forward(x), flat @ weight.T + bias)
    assert close(net.backward(dy).reshape(n, features), dy.astype(np.float64) @ weight)
    assert close(net.gradients["1.weight"], dy.T.astype(np.float64) @ flat)
    assert close(net.gradients["1.bias"], dy.sum(axis=0, dtype=np.float64), summands=dy)


@pytest.mark.parametrize("behind", [[], [Flatten()], [MaxPool2D(2)], [Conv2D(2, 3)]])
@pytest.mark.parametrize("before", [[], [Conv2D(3, 3)], [MaxPool2D(1)]])
def test_relu_is_the_same_fused_and_by_itself(before, behind):
    """A plan fuses a ReLU with its neighbors; MaxPool2D(1), which changes nothing, comes between to prevent it."""
    shape, nothing = (2, 8, 9), MaxPool2D(1)
    fused = Net([*before, ReLU(), *behind], shape)
    separate = Net([*before, *([nothing] if before else []), ReLU(), nothing, *behind], shape)
    separate.weights[:] = fused.weights
    x = normal(18, *shape)
    y = fused.forward(x)
    assert np.array_equal(y, separate.forward(x))
    dy = normal(*y.shape, seed=5)
    assert np.array_equal(fused.backward(dy), separate.backward(dy))
    assert all(map(np.array_equal, fused.gradients.values(), separate.gradients.values()))
    assert (y >= 0).all() or behind


@pytest.mark.parametrize(
    ("layers", "shape", "switch"),
    [
        ([ReLU(), Conv2D(9, 1), ReLU()], (18, 5, 7), (matmul, "fits", lambda *_: False)),
        ([ReLU(), Conv2D(3, 1, (2, 3))], (5, 4, 7), (matmul, "fits", lambda *_: False)),
        ([ReLU(), Conv2D(5, (3, 4), stride=2), ReLU()], (3, 3, 4), (matmul, "fits", lambda *_: False)),
        ([ReLU(), Conv2D(4, (1, 2))], (3, 1, 2), (matmul, "fits", lambda *_: False)),
        (
            [ReLU(), Conv2D(6, 3, padding=(0, 1), dilation=(1, 2), groups=3)],
            (3, 5, 9),
            (direct, "FEW_CHANNELS", 0),
        ),
        ([ReLU(), Conv2D(4, 2, padding=3, groups=2)], (6, 3, 2), (direct, "FEW_CHANNELS", 0)),
        ([ReLU(), Flatten(), Dense(37)], (35, 1, 1), (dense, "FAR", 0)),
    ],
    ids=str,
)
def test_faster_kernels_give_the_same_bits(layers, shape, switch, monkeypatch):
    """The algorithm that a layer chooses for its shape gives the bits of the plain kernels."""

    def computed():
        net = Net(layers, shape, norm_group=2)
        fill(net)
        y = net.forward(x, training=True)
        dx = net.backward(normal(*y.shape, seed=5))
        return [y, dx, net.sums.copy(), net.predict(x)]

    x = normal(18, *shape)
    ours = computed()
    monkeypatch.setattr(*switch)
    conv2d.algorithms.cache_clear()
    others = computed()
    conv2d.algorithms.cache_clear()
    assert all(map(np.array_equal, ours, others))
    assert any(ours[1].ravel())


def test_flatten_copies_where_it_cannot_be_a_view():
    """Behind Winograd's algorithm the gradient has zeros at its sides, so that it is not one run of memory."""
    net = Net([Conv2D(16, 3), Flatten()], (16, 5, 6))
    x, dy = normal(3, 16, 5, 6), normal(3, 16 * 12, seed=1)
    assert any(net.layers[0].gradient_border((16, 5, 6)))
    y = oracle.convolve(x, net.parameters["0.weight"], 0, 1, 0)
    assert close(net.forward(x), y.reshape(3, -1))
    wanted = oracle.convolve_backward(x, net.parameters["0.weight"], dy.reshape(y.shape), 1, 0)
    assert close(net.backward(dy), wanted[0])


def logits_of(classes):
    """Return a net of a Dense layer, images, labels and the net's logits."""
    net = Net([Flatten(), Dense(classes)], (6, 1, 1))
    fill(net)
    x = 20 * normal(21, 6, 1, 1)
    return net, x, np.arange(21) % classes, net.predict(x)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("classes", [1, 2, 10, 37])
def test_softmax_cross_entropy(classes, smoothing):
    net, x, labels, logits = logits_of(classes)
    net.label_smoothing = smoothing
    loss, gradients = net.loss_and_gradients(x, labels)
    wanted, dlogits = oracle.softmax_cross_entropy(logits, labels, smoothing=smoothing)
    assert loss == pytest.approx(wanted, rel=3e-6, abs=1e-6)
    assert np.allclose(gradients["1.bias"], dlogits.sum(axis=0), atol=1e-6)


def test_label_smoothing_is_pytorch_s():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net, x, labels, logits = logits_of(10)
    net.label_smoothing = 0.2
    loss, gradients = net.loss_and_gradients(x, labels)
    z = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(z, torch.from_numpy(labels), label_smoothing=0.2)
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-6)
    assert np.allclose(gradients["1.bias"], z.grad.numpy().sum(axis=0), atol=1e-6)


def test_labels_are_smoothed_only_in_training():
    net, x, labels, logits = logits_of(10)
    net.label_smoothing = 0.2
    net.start_evaluation(2)
    for part in np.split(np.arange(21), [16]):
        net.evaluate_block(Block.of(x, labels, part))
    wanted, _ = oracle.softmax_cross_entropy(logits, labels)
    assert net.sums[LOSS] * QUANTUM / 21 == pytest.approx(wanted, rel=3e-6)


@pytest.mark.parametrize(
    ("layers", "shape", "words"),
    [
        ([Conv2D(6, 5)], (1, 4, 9), ["layer 0", "Conv2D", "at least 5 rows", "has 4"]),
        ([Conv2D(6, (1, 3), dilation=3)], (1, 4, 6), ["layer 0", "Conv2D", "at least 7 columns", "has 6"]),
        ([Conv2D(6, 3, groups=2)], (3, 8, 8), ["layer 0", "groups=2", "has 3", "to have 6"]),
        ([Conv2D(5, 3, groups=2)], (4, 8, 8), ["layer 0", "groups=2", "has 4", "to have 5"]),
        ([Conv2D(6, 5), MaxPool2D(3)], (1, 6, 6), ["layer 1", "MaxPool2D", "at least 3", "has 2"]),
        ([Dense(10)], (1, 4, 4), ["layer 0", "Dense", "(1, 4, 4)", "Flatten"]),
        ([Flatten(), Flatten()], (1, 4, 4), ["layer 1", "Flatten", "(16,)"]),
        ([Flatten, Dense(3)], (1, 4, 4), ["layer 0", "Flatten", "object"]),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, shape, words):
    with pytest.raises(NetError) as caught:
        Net(layers, shape)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Conv2D(0, 3), "out_channels"),
        (lambda: Conv2D(1, 2.5), "kernel_size"),
        (lambda: Conv2D(1, 3, stride=0), "stride"),
        (lambda: Conv2D(1, 3, padding=-1), "padding"),
        (lambda: MaxPool2D(3, padding=2), "padding"),
        (lambda: Dense(True), "out_features"),
        (lambda: Dense(2**40), "out_features"),
        (lambda: Dense(3, bias="no"), "bias is 'no'; wanted True or False"),
        (lambda: Conv2D(1, 3, stride=(1, 2**31)), "stride"),
        (lambda: Conv2D(1, 3, bias=0), "bias"),
        (lambda: MaxPool2D(2, ceil_mode="x"), "ceil_mode"),
        (lambda: MeanPool2D(2, count_include_pad=None), "count_include_pad"),
        (lambda: SaveAs(3), "name is 3; wanted text"),
        (lambda: Net(Conv2D(1, 3), (1, 8, 8)), r"layers is Conv2D.*; wanted a list"),
        (lambda: Net([Flatten()], (1, 2, 2), seed=-1), "seed is -1"),
        (lambda: Net([Flatten()], (1, 2, 2), seed="a"), "seed is 'a'"),
        (lambda: Net([Flatten()], (1, 2, 2)).predict("a"), "images are str"),
    ],
)
def test_arguments_out_of_range_are_refused(make, word):
    with pytest.raises(NetError, match=word):
        make()


@pytest.mark.parametrize("width", [1, 5, 16, 28, 40])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_samples_come_into_their_lanes(dtype, width):
    images = np.random.default_rng(width).integers(0, 256, (40, 2, 3, width)).astype(dtype)
    index = np.arange(16)[::-1] * 2 + 1
    scale, shift = np.float32([0.3, -1.7]), np.float32([-2.2, 0.1])
    x = np.full((1, 2, 3, width, 16), np.nan, np.float32)
    pack(dtype)(images, index, scale, shift, x)
    wanted = images[index].astype(np.float64) * scale[:, None, None] + shift[:, None, None]
    assert np.array_equal(x[0], np.moveaxis(wanted, 0, -1).astype(np.float32))
