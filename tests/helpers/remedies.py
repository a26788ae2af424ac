"""Commands that tests of remedies run, in this process and on a net of one layer, and what happens between them.

`train` stands for training its first step.
"""

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn import evaluate, predict, train, verify
from distcnn.data import __main__ as data
from distcnn.errors import DistcnnError
from distcnn.layers import Dense, Flatten
from distcnn.models import MODELS
from distcnn.models.base import Model
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from distcnn.run.curves import Curves
from tests.helpers import datasets

VERBS = {"train": train, "evaluate": evaluate, "predict": predict, "verify": verify, "data": data}
SHORT = "--model one --progress none --hang-timeout 0"  # for every training
STEP = "--max-steps 1"  # unless a training has it


def one(input_shape, classes):
    return [Flatten(), Dense(classes)]


def two(input_shape, classes):
    return [Flatten(), Dense(2), Dense(classes)]


def commands(folder, monkeypatch):
    """Return a function that runs a command in an empty folder, in which this puts some datasets."""
    monkeypatch.chdir(folder)
    monkeypatch.setitem(MODELS, "one", Model(one, (1, 6, 5)))
    monkeypatch.setattr(Curves, "draw", lambda self: None)
    write_datasets()

    def call(line):
        if callable(line):
            return line()
        verb, *words = shlex.split(line)
        if verb == "train":
            words += shlex.split(SHORT)[2 * ("--model" in words) :]
            words += [] if re.search("--max-|--epochs|--resume auto --out done", line) else shlex.split(STEP)
            words += [] if re.search("--(data|resume|config)", line) else ["--data", "data.h5"]
        monkeypatch.setattr(sys, "argv", [verb, *words])
        return VERBS[verb].main(SerialComm())

    return call


def write_datasets():
    """Write data.h5, the same without a test split, with other classes, and with other pixels."""
    datasets.write("data.h5")
    datasets.write("train_only.h5", {"test/images": None, "test/labels": None})
    datasets.write("other_classes.h5", classes=("x", "y", "z"))
    datasets.write("other_size.h5", {f"{split}/images": IMAGES[:n, :, :4] for split, n in SIZES})
    datasets.write("floats.h5", {f"{split}/images": np.float32(IMAGES[:n]) for split, n in SIZES})


IMAGES, SIZES = datasets.IMAGES, (("train", 12), ("test", 4))


# ---- what a row does before and between commands ----


def moved(old, new):
    return lambda: os.rename(old, new)


def removed(path):
    return lambda: os.unlink(path)


def written(path, text):
    def write():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    return write


def without_line(path, pattern):
    def write():
        lines = Path(path).read_text().splitlines(keepends=True)
        Path(path).write_text("".join(line for line in lines if not re.match(pattern, line)))

    return write


def damaged(path):
    def write():
        content = bytearray(Path(path).read_bytes())
        content[-1] ^= 1
        Path(path).write_bytes(content)

    return write


def of_other_numerics(path):
    def write():
        state = checkpoint.load(path)
        state.numerics = 1
        checkpoint.save(path, state)

    return write


def without_network(*_):
    """Save the newest checkpoint in `a` as early versions did, without the network."""
    path, state = checkpoint.newest("a/checkpoints", pytest.fail)
    state.network = ""
    checkpoint.save(path, state)


def with_layers(layers):
    return lambda: MODELS.__setitem__("one", Model(layers, (1, 6, 5)))


def converted(source, path):
    """Write a dataset with its images as bytes."""

    def write():
        with h5py.File(source) as file:
            images = {f"{split}/images": np.uint8(file[f"{split}/images"]) for split, _ in SIZES}
        datasets.write(path, images)

    return write


@dataclass
class Row:
    """A mistake and its remedies.

    fails: the command that is refused.
    finds: a regular expression; its groups are what the message tells to do.
    works: lists of commands, one a remedy, that must work, each in the state that the mistake has left; the groups
        stand in for {0}, {1}, ...
    before: commands before the mistake.
    """

    fails: str
    finds: str
    works: list[list]
    before: tuple = ()


def fails(command, line):
    """Run a command that must be refused in one line, and return the line."""
    with pytest.raises(DistcnnError) as caught:
        command(line)
    assert "\n" not in str(caught.value)
    return str(caught.value)
