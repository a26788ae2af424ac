"""Every remedy that a message on networks names is carried out, and works."""

import re
from pathlib import Path

import numpy as np
import pytest

from distcnn import Net
from distcnn.errors import NetError
from distcnn.layers import Conv2D, Dense, Flatten, SaveAs, Softmax, StartFrom
from distcnn.models import MODELS, check
from tests.helpers import datasets
from tests.helpers.remedies import IMAGES, fails


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet",
        "resnext50",
        "wide_resnet50_2",
        "vgg",
        "vgg19_bn",
        "lenet",
        "LeNet-5",
        "renset20",
        "mobilenet",
    ],
)
def test_models_that_are_named_exist(name):
    message = fails(check, name)
    named = [
        each
        for each in re.findall("[a-z0-9-]+", message.partition("'; ")[2] or message.partition("', ")[2])
        if each in MODELS
    ]
    assert named
    assert "resnet" not in name or named[0] in ("resnet20", "alexnet")
    for each in named:
        check(each)


@pytest.mark.parametrize("name", ["nets/mine", r"nets\mine", "mine.py"])
def test_a_network_of_one_s_own(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("from distcnn.layers import *\ndef net(s, n): return [Flatten(), Dense(n)]\n")
    Path("mine.txt").write_text("Flatten()\nDense(10)\n")
    message = fails(check, name)
    forms = re.findall(r"[\w.]+:FUNCTION|FILE.txt|MODULE:FUNCTION", message)
    assert forms == (
        ["mine.py:FUNCTION"] if name == "mine.py" else ["FILE.py:FUNCTION", "MODULE:FUNCTION", "FILE.txt"]
    )
    for form in forms:
        check(form.replace("FILE", "mine").replace("MODULE", "mine").replace("FUNCTION", "net"))


BATCH = np.float32(IMAGES), datasets.LABELS


@pytest.mark.parametrize(
    ("wrong", "words", "right"),
    [
        ([Dense(3)], "put a Flatten() before it", [Flatten(), Dense(3)]),
        ([Flatten(), Dense(3), Softmax()], "leave out the final Softmax()", [Flatten(), Dense(3)]),
        ([Conv2D(3, 3)], "end with Dense", [Conv2D(3, 3), Flatten(), Dense(3)]),
        (
            [Conv2D(3, 9), Flatten(), Dense(3)],
            "use larger images or a smaller net",
            [Conv2D(3, 5), Flatten(), Dense(3)],
        ),
        (
            [StartFrom("a"), Flatten(), Dense(3)],
            "put a SaveAs('a') there",
            [SaveAs("a"), StartFrom("a"), Flatten(), Dense(3)],
        ),
    ],
)
def test_remedies_for_nets(wrong, words, right):
    with pytest.raises(NetError) as caught:
        Net(wrong, (1, 6, 5)).loss_and_gradients(*BATCH)
    assert words in str(caught.value)
    Net(right, (1, 6, 5)).loss_and_gradients(*BATCH)


def test_backward_without_forward():
    net, dy = Net([Flatten(), Dense(3)], (1, 6, 5)), np.ones((12, 3), np.float32)
    with pytest.raises(NetError, match=r"needs a forward\(images, training=True\)"):
        net.backward(dy)
    net.forward(BATCH[0], training=True)
    assert net.backward(dy).shape == IMAGES.shape
