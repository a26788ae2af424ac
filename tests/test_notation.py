"""The notation of networks: every model is read back as it was written, and nothing but a network is read."""

import random
from dataclasses import dataclass

import numpy as np
import pytest

from distcnn.errors import NetError
from distcnn.layers import Conv2D, Flatten, Layer, MaxPool2D, RadialBasis, SaveAs, Tanh
from distcnn.models import MODELS, notation
from tests.helpers.nets import OTHERS, PLAIN


@dataclass(frozen=True)
class Odd(Layer):
    """A layer outside the package."""

    value: object = None


NAME = f"{__name__}.Odd"


def same(layers, others):
    return list(map(type, layers)) == list(map(type, others)) and repr(layers) == repr(others)


@pytest.mark.parametrize("classes", [2, 10, 43])
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_read_back(name, classes):
    layers = MODELS[name].layers(MODELS[name].input_shape, classes)
    text = notation.write(layers)
    found = notation.read(text, "net.txt")
    assert same(found, layers)
    assert notation.write(found) == text
    assert len(text.splitlines()) == len(layers)


def test_layers_of_every_kind_are_read_back():
    for layers in (PLAIN, OTHERS):
        assert same(notation.read(notation.write(layers), "net.txt"), layers)


def test_only_what_differs_from_the_default_is_written():
    assert repr(Conv2D(6, 5, padding=2)) == "Conv2D(6, 5, padding=2)"
    assert (
        repr(Conv2D(6, (5, 3), bias=False, stride=(1, 1))) == "Conv2D(6, (5, 3), stride=(1, 1), bias=False)"
    )
    assert repr(MaxPool2D(np.int64(2))) == "MaxPool2D(2)"
    assert repr(SaveAs("a'b\n")) == 'SaveAs("a\'b\\n")'


def test_numbers_are_exact():
    values = np.array([[0.1, -1e-38, 3.0], [1 / 3, 2**60, -0.0]], np.float32)
    (found,) = notation.read(repr(RadialBasis(values)), "net.txt")
    assert found.centers.tobytes() == values.tobytes()
    assert notation.read(repr(Tanh(2 / 3, 0.1)), "")[0] == Tanh(2 / 3, 0.1)


def test_a_setting_of_the_net_is_not_part_of_the_network():
    assert repr(Conv2D(6, 5).using("direct")) == "Conv2D(6, 5)"


def test_messages_have_no_long_arguments():
    assert str(RadialBasis(np.ones((10, 84)))) == "RadialBasis(...)"


@pytest.mark.parametrize("value", [object(), np.nan, {1: 2}, b"bytes", [lambda: 1]])
def test_what_cannot_be_written_is_refused(value):
    with pytest.raises(NetError, match=r"Odd: value is .* which a network's notation cannot hold"):
        notation.write([Odd(value)])
    assert repr(Odd(value))  # as in a debugger


@pytest.mark.parametrize("value", [None, True, 3, -2.5, np.inf, -np.inf, "é\n", (1, (2.0, "x"), ()), ("a",)])
def test_any_literal_is_read_back(value):
    (found,) = notation.read(notation.write([Odd(value)]), "", {NAME: Odd})
    assert found == Odd(value)


def test_a_layer_of_the_users_is_read_only_if_it_is_passed():
    text = notation.write([Flatten(), Odd(3), Odd(4)])
    assert text == f"Flatten()\n{NAME}(value=3)\n{NAME}(value=4)\n"
    assert notation.user_layers(text, "") == [NAME]
    with pytest.raises(NetError, match=r"net.txt:2: the layer .*Odd is of your own code: .*--layers"):
        notation.read(text, "net.txt")


def test_comments_blank_lines_and_calls_over_several_lines():
    text = "# LeNet\n\nConv2D(\n    6, 5,  # filters\n    padding=(2, 2),\n)\r\n\tFlatten()\n".replace(
        "\t", ""
    )
    assert notation.read(text, "") == [Conv2D(6, 5, padding=(2, 2)), Flatten()]


REFUSED = {
    "": "holds no layers",
    "# nothing": "holds no layers",
    "ReLU()\nConv2d(6, 5)": "net.txt:2: unknown layer 'Conv2d', did you mean Conv2D",
    "Linear(10)": "did you mean Dense",
    "Denes(10)": "did you mean Dense",
    "Quux(10)": "wanted one of: Add, ",
    "Layer()": "unknown layer 'Layer'",
    "Conv2D(6)": r"missing a required argument: 'kernel_size'; wanted Conv2D\(out_channels, kernel_size, stride=1",
    "Conv2D(6, 5, paddin=2)": "unexpected keyword argument 'paddin'",
    "Conv2D(6, -5)": "net.txt:1: Conv2D: kernel_size is -5",
    "Conv2D(6, 5, conv='x')": "unexpected keyword argument 'conv'",
    "Dense(10),": "a comma after a layer",
    "[ReLU()]": "not a layer",
    "x = 3": "not a layer",
    "Dense": "not a layer",
    "Dense(10": "net.txt:1: '\\(' was never closed",
    "Dense(3, out_features=4)": "multiple values for argument",
    "Dense(out_features=3, out_features=4)": "given twice",
    "Dense(1) Dense(2)": "invalid syntax",
    "Dense(n)": "n is not a number, a text",
    "Dense(__import__('os').system('true'))": "has no place in a network",
    "Dense(__import__('os'))": "is not a number",
    "Dense(f'{1}')": "is not a number",
    "Dense(*[3])": "has no place",
    "Dense(**{'bias': 1})": "has no place",
    "import os": "has no place",
    "lambda: 1": "has no place",
    "Dense(3 if True else 4)": "has no place",
    "Dense(1 + 1)": "has no place",
    "Dense(2 ** 99999)": "has no place",
    "ReLU().forward()": "has no place",
    "ReLU()()": "has no place",
    "Dense(1); Dense(2)": "has no place",
    "\0": "has no place",
    "Dense(" + "9" * 5000 + ")": "has no place",
    "Dense((((((1))))))": "has no place",
    "not " * 10**5 + "x": "has no place",
    "ReLU" + "()" * 10**5: "has no place",
    "x" + "[0]" * 10**5: "has no place",
    "x" + ".x" * 10**5: "has no place",
    "x = " * 10**5 + "x": "not a layer",
    "ReLU()\n" * 10_001: "10,001 layers, more than 10,000",
    " " * (notation.MAX_BYTES + 1): "larger than 4 MiB",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=[text[:30] for text in REFUSED])
def test_anything_else_is_refused_in_one_line(text, message):
    with pytest.raises(NetError, match=message) as caught:
        notation.read(text, "net.txt")
    assert str(caught.value).startswith("net.txt")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


SEEDS = [
    "Conv2D(6, 5, padding=2)\nReLU()\n",
    "TableConv2D(((0, 1), (1, 2)), 5)\nSaveAs('a')\nAdd('a')\n",
    "Dense(10)\n",
]
PARTS = [
    "(",
    ")",
    "[",
    "]",
    ",",
    "=",
    "'",
    '"',
    "\\",
    "\n",
    "#",
    "1e9",
    "-",
    "True",
    "None",
    ".",
    "x",
    "Dense",
    "bias=",
    "é",
    "\0",
    "{",
    "*",
    ":",
    "lambda",
    "0x1",
    "1_0",
    "9" * 30,
]


def mutated(rng, text):
    """Return a text with a few characters removed, repeated, or replaced by parts of other networks and of Python."""
    for _ in range(rng.randrange(1, 6)):
        start = rng.randrange(len(text) + 1)
        stop = min(len(text), start + rng.choice((0, 0, 1, 3, 20)))
        text = text[:start] + rng.choice(("", rng.choice(PARTS), text[start:stop] * 2)) + text[stop:]
    return text


def test_mutated_networks_are_refused_in_one_line_or_are_networks():
    rng = random.Random(0)
    read = 0
    for _ in range(10_000):
        text = mutated(rng, rng.choice(SEEDS))
        try:
            layers, message = notation.read(text, "net.txt"), ""
        except NetError as error:
            layers, message = [], str(error)
        assert "\n" not in message
        read += bool(layers)
        assert all(isinstance(layer, Layer) for layer in layers)
        assert not layers or same(notation.read(notation.write(layers), ""), layers)
    assert 100 < read < 9_900
