"""Images on another scale than those of the training are told, once, and images that are just dark are not."""

import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from distcnn import evaluate, predict
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.source import Part
from distcnn.parallel.serial import SerialComm
from distcnn.run import checkpoint
from distcnn.training import scale_check
from distcnn.training.scale_check import scale_problem
from tests.helpers.states import state
from tests.helpers.trainings import train_to, trainer_of

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (70, 2, 8, 8)).astype(np.float32)
SPARSE = BYTES * (RANDOM.random(BYTES.shape) < 0.02)  # mostly black, as in microscopy
NIGHT = RANDOM.poisson(1.0, BYTES.shape).astype(np.float32)

CASES = {
    # images of the training, those to predict, and whether the scales differ
    "the same": (BYTES, BYTES, False),
    "0 to 1 for 0 to 255": (BYTES, BYTES / 255, True),
    "0 to 1 for 0 to 65535": (BYTES * 257, BYTES / 255, True),
    "0 to 255 for 0 to 1": (BYTES / 255, BYTES, True),
    "0 to 255 for standardized": ((BYTES - 128) / 74, BYTES, True),
    "-1 to 1 for 0 to 255": (BYTES, BYTES / 127.5 - 1, True),
    "mostly black": (SPARSE, SPARSE / 255, True),
    "one of 0 to 1": (BYTES, BYTES[:1] / 255, True),
    "masks of 0 and 1": (BYTES, np.float32(BYTES > 128), True),
    "dark": (BYTES, np.floor(BYTES / 12), False),
    "dark and resized": (BYTES, BYTES / 20, False),
    "at night": (BYTES, np.floor(NIGHT / 3), False),
    "black": (BYTES, BYTES * 0, False),
    "one of one color": (BYTES, BYTES * 0 + np.float32(0.5), False),
    "bright for dark": (BYTES / 255 / 20, BYTES / 255, False),
    "a dark channel": (BYTES, BYTES * np.array([1, 1e-3], np.float32)[:, None, None], False),
}


def trained_on(images, **changes):
    mean, std = images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
    return state(mean=mean.astype(np.float32), std=std.astype(np.float32), dtype="float32", **changes)


@pytest.mark.parametrize("name", CASES)
def test_the_scale_is_judged_by_the_statistics_of_the_training(name):
    training, images, differ = CASES[name]
    problem = scale_problem("new", images, trained_on(training), "run")
    assert bool(problem) == differ
    if problem:
        assert problem.startswith("images of new have values from ")
        assert problem.endswith(": scale them alike, or the answers mean nothing")
        assert "\n" not in problem


def test_without_statistics_and_for_bytes_nothing_is_said():
    unknown = trained_on(BYTES, config_toml='model = "lenet5"\nnormalize = "none"\n')
    assert scale_problem("new", BYTES / 255, unknown, "run") is None
    assert scale_problem("new", np.uint8(BYTES > 128), trained_on(BYTES), "run") is None


def test_images_that_are_streamed_are_judged_too(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = BYTES / 255
    images = StreamedImages.of_parts([Part(tmp_path / "a.h5", "images")], (2, 8, 8), np.dtype("f4"))
    assert scale_problem("a", images, trained_on(BYTES), "run")
    assert not scale_problem("a", images, trained_on(BYTES / 255), "run")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint of a net that was trained on the digits as floats from 0 to 255, as far as it can tell."""
    trainer = train_to(trainer_of(["--batch-size", "64", "--warmup-epochs", "0"]), 1)
    path = tmp_path_factory.mktemp("run") / "step.h5"
    checkpoint.save(path, replace(trainer.state(), dtype="float32"))
    return path, trainer.dataset


@pytest.mark.parametrize("divisor", [1, 255])
def test_a_command_warns_once(trained, tmp_path, monkeypatch, divisor):
    path, data = trained
    for name in ("a.h5", "b.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["test/images"] = np.float32(data.test.images) / divisor
            file["test/labels"] = data.test.labels
    said = []
    monkeypatch.setattr(scale_check, "warn", said.append)
    monkeypatch.chdir(tmp_path)
    for number, (command, *words) in enumerate(
        ((evaluate, "--data", "a.h5"), (predict, "--data", "a.h5"), (predict, "a.h5", "b.h5")), 1
    ):
        monkeypatch.setattr(sys, "argv", ["command", str(path), *words])
        command.main(SerialComm())
        assert len(said) == (number if divisor > 1 else 0)
