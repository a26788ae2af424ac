"""Numbers in PyTorch's order, input size first, are refused where they would silently mean something else."""

import copy
import pickle

import pytest

from distcnn import Net
from distcnn.errors import NetError
from distcnn.layers import BatchNorm2D, Conv2D, Dense, LocallyConnected2D, TableConv2D
from distcnn.models import notation
from distcnn.models.networks import network_text
from distcnn.parallel.serial import SerialComm
from tests.helpers.commands import call

PYTORCH = [  # in PyTorch's order, shape of the input, what the same means here, the same by name
    ((1, 6, 5), {}, (1, 28, 28), "Conv2D(6, 5)", "Conv2D(1, 6, stride=5)"),
    ((6, 16, 5), {}, (6, 24, 24), "Conv2D(16, 5)", "Conv2D(6, 16, stride=5)"),
    ((6, 16, 5), {}, (1, 24, 24), "Conv2D(16, 5)", "Conv2D(6, 16, stride=5)"),  # after the first, misread
    (
        (3, 64, 3),
        {"padding": 1},
        (3, 99, 99),
        "Conv2D(64, 3, padding=1)",
        "Conv2D(3, 64, stride=3, padding=1)",
    ),
    ((3, 64, 3, 2, 1), {}, (3, 99, 99), "Conv2D(64, 3, stride=2, padding=1)", None),
    ((3, 8, (3, 3)), {"bias": False}, (3, 28, 28), "Conv2D(8, (3, 3), bias=False)", None),
    ((3, 8, 1), {}, (3, 28, 28), "Conv2D(8, 1)", "Conv2D(3, 8)"),
    ((3, 3, 3), {}, (3, 28, 28), "Conv2D(3, 3)", "Conv2D(3, 3, stride=3)"),
]
OURS = [  # by position, shape of the input
    (Conv2D(96, 11, 4), (3, 224, 224)),
    (Conv2D(64, 3, 2), (64, 24, 24)),
    (Conv2D(64, 3, 1, 1), (64, 24, 24)),
    (Conv2D(64, 7, 2, 3), (3, 224, 224)),
    (Conv2D(768, 16, 16), (3, 224, 224)),  # patches
    (Conv2D(16, (8, 9), 4), (16, 28, 28)),  # no number of channels is a pair
    (Conv2D(1, 6, 5, 0), (1, 28, 28)),  # PyTorch has no stride of 0
    (TableConv2D(((0,), (1,)), 9, 5), (2, 28, 28)),
]


@pytest.mark.parametrize(("given", "named", "shape", "theirs", "ours"), PYTORCH)
@pytest.mark.parametrize("kind", [Conv2D, LocallyConnected2D])
def test_filters_in_the_order_of_pytorch_are_refused(given, named, shape, theirs, ours, kind):
    theirs, ours = (each and each.replace("Conv2D", kind.__name__) for each in (theirs, ours))
    with pytest.raises(NetError) as caught:
        Net([kind(*given, **named)], shape)
    message = str(caught.value)
    assert message.startswith(f"layer 0: {kind.__name__}: {', '.join(map(str, given))} looks like PyTorch's")
    assert f"write {theirs}, or " in message
    assert not ours or f"or {ours} if you mean that" in message
    for remedy in (each for each in (theirs, ours) if each):
        eval(remedy).output_shape(shape)  # what the message advises is accepted


@pytest.mark.parametrize(("layer", "shape"), OURS)
def test_filters_in_our_order_are_accepted(layer, shape):
    layer.output_shape(shape)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
def test_copies_are_refused_too(copied):
    with pytest.raises(NetError, match="PyTorch's order"):
        copied(Conv2D(1, 6, 5)).output_shape((1, 28, 28))


def test_a_layer_is_the_same_however_its_arguments_are_given():
    by_position, by_name = Conv2D(8, 3, 2), Conv2D(8, 3, stride=2)
    assert by_position == by_name
    assert hash(by_position) == hash(by_name)
    assert repr(by_position) == repr(by_name)


REFUSED = {
    "Dense(120, 84)": r"Dense: 120, 84 looks like PyTorch's order, .*: write Dense\(84\), or bias=True or",
    "Dense(84, 1)": r"write Dense\(1\), or bias=True",
    "BatchNorm2D(64)": r"BatchNorm2D: 64 looks like .*: write BatchNorm2D\(\), or BatchNorm2D\(eps=64\)",
}


@pytest.mark.parametrize("text", REFUSED)
def test_other_layers_in_the_order_of_pytorch_are_refused(text):
    with pytest.raises(NetError, match=REFUSED[text]):
        eval(text)
    with pytest.raises(NetError, match=f"net.txt:1: .*{REFUSED[text]}"):
        notation.read(text, "net.txt")


def test_what_is_named_or_usual_is_accepted():
    assert Dense(84, False) == Dense(84, bias=False)
    assert BatchNorm2D(1e-3) == BatchNorm2D(eps=1e-3)
    assert BatchNorm2D(eps=64).eps == 64
    assert Conv2D(1, 6, stride=5).output_shape((1, 28, 28)) == (1, 5, 5)


LENET = "Conv2D(1, 6, 5)\nFlatten()\nDense(10)\n"
FUNCTION = (
    "from distcnn.layers import *\ndef net(shape, outputs): return [Conv2D(1, 6, 5), Flatten(), Dense(10)]\n"
)


def test_files_of_the_users_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lenet.txt").write_text(LENET)
    (tmp_path / "lenet.py").write_text(FUNCTION)
    for word in ("lenet.txt", "lenet.py:net"):
        with pytest.raises(NetError, match=rf"--model {word}: layer 0: Conv2D: .*: write Conv2D\(6, 5\), or"):
            network_text(word, (1, 28, 28), 10)
    done = call(SerialComm(), "distcnn.train", "--model", "lenet.txt", "--max-steps", 1)
    assert done.returncode == 2
    assert "write Conv2D(6, 5), or Conv2D(1, 6, stride=5) if you mean that" in done.stderr
    assert not (tmp_path / "runs").exists()
