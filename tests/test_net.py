"""Whole nets: gradients against PyTorch, views, NaN, the range of exact sums, and mistakes at the prompt."""

import copy
import pickle
from functools import cached_property

import numpy as np
import pytest

from distcnn import Net, models
from distcnn.errors import Diverged, NetError
from distcnn.layers import (
    Add,
    BatchNorm2D,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    SaveAs,
    Softmax,
    Tanh,
)
from distcnn.network.buffer_sharing import gradient_slots, gradients_over_values
from distcnn.network.passes import for_training
from distcnn.network.shapes import infer_shapes
from tests.helpers.arrays import normal
from tests.helpers.nets import OTHERS, PLAIN, small_net


def random_net(seed):
    """Return a small random chain of layers, its input shape and a batch size, odd in every respect."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in (rng.integers(1, 4), rng.integers(9, 17), rng.integers(9, 17)))
    layers, size = [], shape
    for _ in range(rng.integers(1, 4)):
        for layer in (_random_convolution(rng), ReLU(), _random_pool(rng)):
            try:
                size, _ = layer.output_shape(size), layers.append(layer)
            except NetError:
                continue
    hidden = [Dense(int(rng.integers(1, 30))), ReLU()] if rng.random() < 0.5 else []
    return (
        [*layers, Flatten(), *hidden, Dense(int(rng.integers(2, 12)))],
        shape,
        int(rng.choice([1, 15, 16, 17, 33])),
    )


def _random_convolution(rng):
    kernel_size = int(rng.integers(1, 6))
    return Conv2D(int(rng.integers(1, 20)), kernel_size, int(rng.integers(1, 3)), int(rng.integers(0, 3)))


def _random_pool(rng):
    return MaxPool2D(
        int(rng.integers(2, 4)), int(rng.integers(1, 4)), int(rng.integers(0, 2)), bool(rng.integers(2))
    )


def in_torch(net):
    """Return the same net in PyTorch, with the same weights."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    nn = torch.nn
    made = []
    for layer, shape in zip(net.layers, net.shapes, strict=False):
        match layer:
            case Conv2D():
                made.append(
                    nn.Conv2d(shape[0], layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
                )
            case MaxPool2D():
                options = {"ceil_mode": layer.ceil_mode}
                made.append(nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding, **options))
            case Dense():
                made.append(nn.Linear(shape[0], layer.out_features))
            case ReLU():
                made.append(nn.ReLU())
            case Flatten():
                made.append(nn.Flatten())
    worker_copy = nn.Sequential(*made)
    with torch.no_grad():
        for theirs, ours in zip(worker_copy.parameters(), net.parameters.values(), strict=True):
            theirs.copy_(torch.from_numpy(ours))
    return worker_copy


def check_against_torch(layers, shape, n):
    net = Net(layers, shape, seed=1)
    worker_copy = in_torch(net)
    import torch

    x, labels = normal(n, *shape), np.arange(n) % net.shapes[-1][0]
    loss, gradients = net.loss_and_gradients(x, labels)
    theirs = torch.nn.functional.cross_entropy(worker_copy(torch.from_numpy(x)), torch.from_numpy(labels))
    theirs.backward()
    assert loss == pytest.approx(theirs.item(), rel=1e-5, abs=1e-6)
    for (name, ours), parameter in zip(gradients.items(), worker_copy.parameters(), strict=True):
        wanted = parameter.grad.numpy()
        assert np.linalg.norm(ours - wanted) <= 1e-5 * np.linalg.norm(wanted) + 1e-9, name


@pytest.mark.parametrize("n", [1, 16, 37])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_lenet5_agrees_with_pytorch(shape, n):
    check_against_torch(models.MODELS["lenet5"].layers(shape, 10), shape, n)


@pytest.mark.parametrize("seed", range(20))
def test_random_nets_agree_with_pytorch(seed):
    check_against_torch(*random_net(seed))


def test_lenet5_has_its_61706_parameters():
    assert models.build("lenet5", (1, 28, 28), 10, seed=0).weights.size == 61706
    assert models.build("lenet5", (1, 32, 32), 10, seed=0).weights.size == 61706


def test_what_is_written_into_parameters_holds_from_the_next_call_on():
    net, x = small_net(), normal(4, 2, 8, 8)
    before = net.predict(x)
    net.parameters["8.bias"][1] += 1
    assert np.allclose(net.predict(x) - before, [0, 1, 0], atol=1e-6)
    net.parameters["0.weight"][...] = 0
    assert not np.allclose(net.predict(x), before)


def test_a_batch_is_the_sum_of_its_samples_bit_for_bit():
    """Blocks of one or of sixteen: whatever lies in the other lanes, what a sample contributes is the same."""
    net, x, dy = small_net(), normal(20, 2, 8, 8), normal(20, 3, seed=1)
    y = net.forward(x)
    dx = net.backward(dy)
    for k in (0, 3, 19):
        assert np.array_equal(net.forward(x[k : k + 1]), y[k : k + 1])
        assert np.array_equal(net.backward(dy[k : k + 1]), dx[k : k + 1])


def test_blocks_add_up_in_any_order():
    net, x, labels = small_net(), normal(48, 2, 8, 8), np.arange(48) % 3
    first = net.loss_and_gradients(x, labels)
    blocks = np.arange(48).reshape(3, 16)[[2, 0, 1]].ravel()
    second = net.loss_and_gradients(x[blocks], labels[blocks])
    assert first[0] == second[0]
    assert all(map(np.array_equal, first[1].values(), second[1].values()))


@pytest.mark.parametrize(
    ("layers", "place"),
    [(layers, place) for layers in (PLAIN, OTHERS) for place in range(len(layers) + 1)],
)
def test_nan_in_front_of_any_layer_is_noticed(layers, place):
    """A filter of 1 x 1 (or a dense layer) is put before the layer and given NaN: nothing may swallow it."""
    layers = list(layers)
    size = infer_shapes(layers[:place], (2, 8, 8))[0][-1]
    layers.insert(place, Conv2D(size[0], 1) if len(size) == 3 else Dense(size[0]))
    net = Net(layers, (2, 8, 8))
    net.loss_and_gradients(normal(5, 2, 8, 8), np.zeros(5, int))
    net.parameters[f"{place}.bias"][1] = np.nan
    with pytest.raises(Diverged):
        net.loss_and_gradients(normal(5, 2, 8, 8), np.zeros(5, int))


def test_a_worker_shares_weights_and_no_plan():
    net, x = small_net(), normal(5, 2, 8, 8)
    net.predict(x)
    net.forward(x)
    net.loss_and_gradients(x, np.zeros(5, int))
    members = {name: each for kind in Net.__mro__ for name, each in vars(kind).items()}
    plans = {name for name, each in members.items() if isinstance(each, cached_property)}
    worker_copy = net.worker_copy()
    assert worker_copy.shared is net.shared
    assert worker_copy.sums is not net.sums
    assert plans <= vars(net).keys()
    assert not plans & vars(worker_copy).keys()


def test_the_loss_refuses_probabilities():
    with pytest.raises(NetError, match="leave out the final Softmax"):
        Net([*PLAIN, Softmax()], (2, 8, 8)).loss_and_gradients(normal(1, 2, 8, 8), [0])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_a_gradient_out_of_range_is_refused(value):
    net, x = small_net(), normal(18, 2, 8, 8)
    net.forward(x)
    dy = np.zeros((18, 3), np.float32)
    dy[17, 1] = value
    with pytest.raises(Diverged):
        net.backward(dy)
    net.backward(np.ones_like(dy))  # and the next one is not


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net: net.predict(normal(2, 1, 8, 8)), ["(2, 1, 8, 8)", "(n, 2, 8, 8)"]),
        (lambda net: net.predict(normal(2, 8, 8)), ["(2, 8, 8)"]),
        (lambda net: net.loss_and_gradients(normal(2, 2, 8, 8), [0, 3]), ["3", "0 to 2"]),
        (lambda net: net.loss_and_gradients(normal(2, 2, 8, 8), [0.5, 1]), ["integers"]),
        (lambda net: net.loss_and_gradients(normal(2, 2, 8, 8), [0]), ["2 integers"]),
        (lambda net: net.backward(normal(2, 3)), ["forward"]),
    ],
)
def test_mistakes_are_named(call, words):
    with pytest.raises(NetError) as caught:
        call(small_net())
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("label", [0, 5])
def test_the_loss_wants_one_number_a_class(label):
    """Whatever the labels are: such a net has no classes."""
    with pytest.raises(NetError, match="end with Dense"):
        Net([Conv2D(3, 3)], (1, 5, 5)).loss_and_gradients(normal(1, 1, 5, 5), [label])


FRONTS = {  # what is before a pool: whether the pool's dx may lie over its x
    "relu": ([Conv2D(4, 3), ReLU()], True),
    "five wide": ([Conv2D(9, 5, padding=2), ReLU()], True),  # it needs zeros at the sides of dy
    "tanh": ([Conv2D(4, 3), Tanh()], False),
    "norm": ([Conv2D(4, 3), BatchNorm2D(), ReLU()], False),
    "pool": ([Conv2D(4, 3), MaxPool2D(3, 1)], False),
    "saved": ([Conv2D(4, 3), SaveAs("x"), Conv2D(4, 3, padding=1), Add("x")], False),
}


@pytest.mark.parametrize("front", FRONTS)
def test_a_pool_that_writes_over_its_input_changes_nothing(front, monkeypatch):
    layers, allowed = FRONTS[front]
    layers, shape = [*layers, MaxPool2D(2, ceil_mode=True), Flatten(), Dense(3)], (3, 9, 9)
    x, labels, found = normal(17, *shape), np.arange(17) % 3, []
    for _ in range(2):
        net = Net(layers, shape)
        found.append(net.loss_and_gradients(x, labels)[1])
        nodes = for_training(net.layers, net.shapes)
        over = gradients_over_values(nodes, gradient_slots(nodes, shape))
        assert (len(layers) - 3 in over.values()) == allowed
        monkeypatch.setattr(MaxPool2D, "gradient_over_input", lambda self, shape: False)
        allowed = False
    for name, gradient in found[0].items():
        assert gradient.any()
        assert np.array_equal(gradient, found[1][name])


def test_gradients_go_back_as_far_as_there_are_parameters():
    """A Dense behind what has none leaves out dx, unless the gradient of the input is asked for."""
    net = Net([Flatten(), SaveAs("a"), Tanh(), Add("a"), Dense(4), ReLU(), Dense(3)], (1, 4, 4))
    images = np.random.default_rng(0).standard_normal((5, 1, 4, 4), np.float32)
    _, gradients = net.loss_and_gradients(images, np.arange(5) % 3)
    plan = net.group.plans[0]
    assert [buffers.dx is not None for buffers in plan.buffers] == [False] * 5 + [True] * 2
    logits = net.forward(images)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    dx = net.backward((softmax - np.eye(3, dtype=np.float32)[np.arange(5) % 3]) / 5)
    assert dx.any()
    for key, gradient in gradients.items():
        assert np.allclose(net.gradients[key], gradient, atol=1e-6), key


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_net_can_be_copied_and_pickled(copied):
    net = Net(OTHERS, (2, 8, 8), seed=3)
    net.normalize(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    net.weights[:] += 0.1
    net.classes = ("a", "b", "c")
    images = np.random.default_rng(0).random((5, 2, 8, 8), np.float32)
    outputs = net.predict(images)
    again = copied(net)
    assert again.digest == net.digest
    assert again.classes == net.classes
    assert np.array_equal(again.predict(images), outputs)
    again.parameters["0.weight"][...] = 0
    assert not np.array_equal(again.predict(images), outputs)
    assert np.array_equal(net.predict(images), outputs)
