"""Looking at a network: tables, notation and pictures, by commands and from Python."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distcnn import Net
from distcnn.layers import Conv2D, Dense, Flatten
from distcnn.models import MODELS, drawing, notation, size
from distcnn.network.summary import summary
from distcnn.parallel.serial import SerialComm
from tests.helpers.commands import call


def command(*words, code=0):
    done = call(SerialComm(), "distcnn.models.__main__", *words)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_a_summary_has_all_layers_and_the_size_of_the_model(name):
    model = MODELS[name]
    lines = summary(model.layers(model.input_shape, model.classes), model.input_shape).splitlines()
    layers = model.layers(model.input_shape, model.classes)
    assert len(lines) == len(layers) + 5
    for line, layer in zip(lines[3:], layers, strict=False):
        assert str(layer) in line
    parameters, flops = size(name)
    assert lines[-1].split()[1:3] == [f"{parameters:,}", f"{flops:,}"]


def test_a_summary_by_hand(capsys):
    Net([Conv2D(2, 3), Flatten(), Dense(5)], (1, 4, 4)).summary()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[3] == ["0", "Conv2D(2,", "3)", "2", "x", "2", "x", "2", "20", "144", "0.0", "MiB"]
    assert rows[5] == ["2", "Dense(5)", "5", "45", "80", "0.0", "MiB"]
    assert rows[-1] == ["sum", "65", "224", "0.0", "MiB"]


def test_a_net_is_shown_as_the_call_that_makes_it():
    net = Net([Conv2D(2, 3), Flatten(), Dense(5)], (1, 4, 4))
    assert repr(net) == "Net([\n    Conv2D(2, 3),\n    Flatten(),\n    Dense(5),\n], (1, 4, 4))"


@pytest.mark.parametrize("name", ["lenet5", "lenet5-1998", "resnet56"])
def test_a_picture(name):
    model = MODELS[name]
    found = drawing.draw(model.layers(model.input_shape, 10), model.input_shape, "a title $x_1$ \x1b[2J")
    image = np.array(Image.open(io.BytesIO(found)).convert("L"))
    assert image.min() < 100 < 240 < image.max()
    assert (image[-5:] > 240).all()


def test_commands(tmp_path):
    Path("net.py").write_text("from distcnn.layers import *\ndef net(s, n): return [Flatten(), Dense(n)]\n")
    assert "resnet20" in command("list").stdout
    written = command("write", "net.py:net", "--input", "3x4x5", "--classes", "7").stdout
    assert written == "Flatten()\nDense(7)\n"
    command("write", "lenet5", "lenet5.txt")
    assert notation.read(Path("lenet5.txt").read_text(), "") == MODELS["lenet5"].layers((1, 28, 28), 10)
    assert command("show", "lenet5.txt", "net.png", "--input", "1x28x28").stdout == "wrote net.png\n"
    assert Path("net.png").read_bytes().startswith(b"\x89PNG")


MISTAKES = {
    "show lenet5 net.jpg": "wanted one that ends in .png",
    "show lenet5 there.png": "there.png already exists",
    "write net.txt": "--input is missing: the shape of the images of net.txt, for example 3x32x32",
    "write net.txt --input 3": "--input '3' is not valid; wanted channels, rows and columns",
    "write net.txt --input 1x8x8 --classes 0": "--classes '0' is not valid",
    "write net.txt --input 1x8x8": r"ends in an output of shape \(7,\), but the data have 10 classes",
    "write nonet": "unknown model 'nonet'",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes(words):
    Path("net.txt").write_text("Flatten()\nDense(7)\n")
    Path("there.png").touch()
    done = command(*words.split(), code=2)
    assert re.fullmatch(f"distcnn: error: .*{MISTAKES[words]}.*\n", done.stderr), done.stderr
