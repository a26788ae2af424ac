"""Frozen parameters: not a bit of them changes, no gradient is computed for them, and the others train as before."""

from dataclasses import dataclass

import numpy as np
import pytest

from distcnn import Net
from distcnn.config.parser import parse
from distcnn.config.types import GLOBAL
from distcnn.errors import ConfigError
from distcnn.layers import (
    BatchNorm2D,
    Conv2D,
    Dense,
    Flatten,
    LocallyConnected2D,
    ReLU,
    TableConv2D,
    TrainablePool2D,
)
from distcnn.numerics.fixed_point import HEAD
from distcnn.parallel.allreduce import buckets
from distcnn.training.frozen_parameters import frozen_parameters, told
from tests.helpers.arrays import normal
from tests.helpers.recipes import RECIPES
from tests.helpers.trainings import train_to, trainer_of

LAYERS = [Conv2D(4, 3, padding=1), BatchNorm2D(), ReLU(), Flatten(), Dense(5), ReLU(), Dense(3)]
SHAPE = (2, 6, 6)
NAMES = [f"{k}.{name}" for k in (0, 1, 4, 6) for name in ("weight", "bias")]


def net_of(layers, frozen=(), shape=SHAPE, **options):
    net = Net(layers, shape, seed=1, **options)
    net.shared.freeze(frozen)
    return net


def gradients(net, n=37):
    """Return the gradients of a batch, from images and labels that are always the same."""
    images, labels = normal(n, *net.input_shape), np.arange(n) % net.shapes[-1][0]
    return net.loss_and_gradients(images, labels)


def sums_of(net, k):
    """Return the exact sums that the calls of layer k get."""
    return net.group.first.buffers[k].sums


# ---- which parameters ----


@pytest.mark.parametrize(
    ("word", "frozen"),
    [
        ("1", NAMES[:2]),
        ("2", NAMES[:4]),
        ("4", NAMES[:4]),
        ("0.*", NAMES[:2]),
        ("*.bias", NAMES[1::2]),
        ("0.weight,4.*", [NAMES[0], *NAMES[4:6]]),
    ],
)
def test_what_is_frozen(word, frozen):
    assert frozen_parameters(parse(["--freeze", word], "p").config.freeze, net_of(LAYERS)) == frozen


def test_the_line_that_says_it():
    assert list(told(net_of(LAYERS))) == []
    assert list(told(net_of(LAYERS, NAMES[:5]))) == ["frozen: 804 of 827 parameters: layers 0, 1, 4.weight"]
    assert list(told(net_of(LAYERS, NAMES[2:4]))) == ["frozen: 8 of 827 parameters: layer 1"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("7", "--freeze: this leaves nothing to train; leave out layer 6, the last one with parameters"),
        ("99", "leaves nothing to train"),
        ("*", "leaves nothing to train"),
        ("0.wieght", "--freeze 0.wieght: no parameter has this name, did you mean 0.weight?"),
        (
            "0.*,conv",
            "--freeze conv: no parameter has this name; they are 0.weight, 0.bias, 1.weight, ... 6.bias",
        ),
        ("1.running_mean", "no parameter has this name"),
        (
            "0",
            "--freeze: 0 is not valid; wanted how many of the first layers, from 1, or names of parameters",
        ),
        ("-1", "--freeze: ['-1'] is not valid"),
        ("", "is not valid"),
        ("0.*,", "is not valid"),
        ("[0-9]", "is not valid"),
    ],
)
def test_wrong_words_are_refused_in_one_line(word, said):
    with pytest.raises(ConfigError) as caught:
        frozen_parameters(parse([f"--freeze={word}"], "p").config.freeze, net_of(LAYERS))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_layers_without_parameters_are_not_enough():
    with pytest.raises(
        ConfigError, match="--freeze 1: these layers have no parameters; --freeze 2 freezes the first"
    ):
        frozen_parameters(1, net_of([Flatten(), Dense(3), Dense(3)]))


# ---- no gradient ----

INNER = [
    Conv2D(4, 3, padding=1),  # by Winograd's algorithm
    Conv2D(4, 3, padding=1, conv="direct"),
    Conv2D(4, 5, padding=2),  # by Winograd's algorithm along rows
    Conv2D(4, 1),  # a product of matrices
    Conv2D(8, 3, groups=2),
    TableConv2D(((0, 1), (1, 2), (3,)), 3),
    TableConv2D([range(8)] * 4, 5, padding=2),
    LocallyConnected2D(3, 3),
    TrainablePool2D(2),
    BatchNorm2D(),
]


@pytest.mark.parametrize("layer", INNER, ids=str)
def test_a_frozen_layer_between_others_passes_on_the_same_gradient(layer):
    """The layer before it gets the gradients that it had; its own are not even computed."""
    layers = [Conv2D(8, 3, padding=1), ReLU(), layer, ReLU(), Flatten(), Dense(3)]
    names = [name for name in Net(layers, (2, 8, 8)).parameters if name.startswith("2.")]
    plain, frozen = net_of(layers, shape=(2, 8, 8)), net_of(layers, names, (2, 8, 8))
    (_, wanted), (_, found) = gradients(plain), gradients(frozen)
    for name, gradient in found.items():
        if name in names:
            assert not gradient.any()
            assert not sums_of(frozen, 2)[name.partition(".")[2]].any()
        elif not isinstance(layer, BatchNorm2D):  # which normalizes by other statistics then
            np.testing.assert_array_equal(gradient, wanted[name], name)
        else:
            assert gradient.any()


def test_the_backward_pass_ends_at_the_first_layer_that_trains():
    frozen = net_of(LAYERS, NAMES[:4])
    plain_ends, ends = net_of(LAYERS).group.first.layers_end, frozen.group.first.layers_end
    assert plain_ends[-1] > plain_ends[2]
    assert ends[2:] == [ends[2]] * 5  # after layer 4, a Dense, there is no call
    assert ends[2] < plain_ends[2]  # and layer 4 computes no gradient of the data
    _, found = gradients(frozen)
    assert [name for name, gradient in found.items() if gradient.any()] == NAMES[4:]


def test_some_parameters_of_a_layer():
    _, wanted = gradients(net_of(LAYERS))
    _, found = gradients(net_of(LAYERS, ["0.bias", "4.weight"]))
    for name, gradient in found.items():
        np.testing.assert_array_equal(gradient, 0 if name in ("0.bias", "4.weight") else wanted[name])


def test_a_layer_that_knows_nothing_of_freezing():
    """Its gradients go where nobody reads them, or are left out with the whole backward pass."""

    @dataclass(frozen=True)
    class Own(Dense):
        def backward(self, buffers):
            return super().backward(Unaware(**vars(buffers)))

    class Unaware(type(net_of(LAYERS).group.first.buffers[0])):
        frozen = property(lambda self: False, lambda self, value: None)

    Unaware.__setattr__ = object.__setattr__
    layers = [Flatten(), Own(4), Dense(4), Own(4), Dense(3)]
    net = net_of(layers, ["1.weight", "1.bias", "3.weight", "3.bias"])
    _, found = gradients(net)
    _, wanted = gradients(net_of(layers))
    assert sums_of(net, 3)["weight"].any()
    assert not sums_of(net, 1)["weight"].any()
    for name, gradient in found.items():
        np.testing.assert_array_equal(gradient, 0 if name[0] in "13" else wanted[name])


# ---- batch norm ----


@pytest.mark.parametrize("norm_group", [1, 2, GLOBAL])
def test_a_frozen_batch_norm_is_that_of_inference(norm_group):
    """As in Keras: running statistics normalize in training, too, and do not change."""
    net = net_of(LAYERS, ["1.weight", "1.bias"], norm_group=norm_group)
    net.arrays["1.running_mean"][:] = [0.1, -0.2, 0.3, 0.0]
    net.arrays["1.running_var"][:] = [0.5, 2.0, 1.0, 0.1]
    before, images = net.weights.copy(), normal(37, *SHAPE)
    y = net.forward(images, training=True)
    np.testing.assert_allclose(y, net.predict(images), rtol=1e-5, atol=1e-5)  # which folds the norm
    np.testing.assert_array_equal(net.weights, before)
    assert gradients(net)[1]["0.weight"].any()


def test_the_gradient_through_a_frozen_batch_norm_is_pytorchs():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net, nn = net_of(LAYERS, ["1.weight", "1.bias"]), torch.nn
    net.arrays["1.running_var"][:] = [0.5, 2.0, 1.0, 0.1]
    head = nn.Flatten(), nn.Linear(144, 5), nn.ReLU(), nn.Linear(5, 3)
    theirs = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), *head)
    arrays = {name: torch.from_numpy(array.copy()) for name, array in net.arrays.items()}
    theirs.load_state_dict(arrays, strict=False)  # they have num_batches_tracked, too
    theirs[1].eval()
    images, labels = normal(37, *SHAPE), np.arange(37) % 3
    nn.functional.cross_entropy(theirs(torch.from_numpy(images)), torch.from_numpy(labels)).backward()
    _, found = net.loss_and_gradients(images, labels)
    for name, tensor in theirs.named_parameters():
        if not name.startswith("1."):
            wanted = tensor.grad.numpy()
            np.testing.assert_allclose(found[name], wanted, atol=1e-5 * np.abs(wanted).max())


# ---- training ----


@pytest.mark.parametrize("name", RECIPES)
def test_not_a_bit_of_them_changes(name):
    """Whatever the optimizer, with weight decay, clipping and an EMA of weights."""
    options = [*RECIPES[name], "--freeze", "1.*,*.bias", "--epochs", "3"]
    options += [] if "--model" in options else ["--model", "mlp"]
    trainer = trainer_of(options)
    names = [key for key in trainer.net.parameters if key.startswith("1.") or key.endswith("bias")]
    before = {key: array.copy() for key, array in trainer.net.parameters.items()}
    train_to(trainer, 4)
    with trainer.replica.ema.in_use():
        for key, array in trainer.net.parameters.items():
            assert (array.tobytes() == before[key].tobytes()) == (key in names)


def test_frozen_statistics_stay_and_others_move():
    layers = [Conv2D(3, 3), BatchNorm2D(), Conv2D(3, 3), BatchNorm2D(), Flatten(), Dense(2)]
    net = net_of(layers, ["0.weight", "0.bias", "1.weight", "1.bias"])
    before = {name: array.copy() for name, array in net.arrays.items()}
    net.forward(normal(20, *SHAPE))
    for name, array in net.arrays.items():
        assert (array != before[name]).any() == name.startswith("3.running")


# ---- the sum over ranks ----


def test_what_is_frozen_before_all_others_is_not_sent():
    assert buckets([HEAD, 40, 900], 1000, 50) == [slice(900, 1000), slice(40, 900), slice(0, 40)]
    assert buckets([HEAD, 40, 900], 1000, 50, 40) == [slice(900, 1000), slice(40, 900), slice(0, HEAD)]
    assert buckets([], 1000, 50, 40) == [slice(40, 1000), slice(0, HEAD)]
    assert net_of(LAYERS, NAMES[:4]).shared.freezing.start == HEAD + 84
    assert net_of(LAYERS, NAMES[2:4]).shared.freezing.start == HEAD
