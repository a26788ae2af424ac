"""The work to measure: training steps of our nets on noise, and a check that all peers compute the same results."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from distcnn.config.settings import Config
from distcnn.data.dataset import Dataset, Split
from distcnn.models import MODELS, build
from distcnn.parallel.serial import SerialComm
from distcnn.training.trainer import Trainer

if TYPE_CHECKING:
    from distcnn.network.net import Net

SAMPLES, CLASSES = 4096, 10


def training_on_noise(model: str, batch_size: int) -> Trainer:
    """Return a Trainer with compiled kernels, for random uint8 images and labels; model: the name of a model."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (SAMPLES, *MODELS[model].input_shape), dtype=np.uint8)
    split = Split(images, rng.integers(0, CLASSES, SAMPLES).astype(np.int32))
    config = Config(
        model=model, batch_size=batch_size, epochs=10**6, learning_rate=0.01, warmup_epochs=0.0, threads=1
    )
    trainer = Trainer(config, Dataset("noise", "", tuple("0123456789"), split, None), SerialComm())
    trainer.compile()
    return trainer


def stepping(trainer: Trainer) -> Callable[[], None]:
    """Return a function that computes a training step, including the gathering of its batch."""
    batches = trainer.remaining()

    def step():
        trainer.step(next(batches))
        if trainer.epoch_done:
            trainer.next_epoch()

    return step


def batch_of(trainer: Trainer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a batch as (images, normalized images for the peers, labels); images: float32 (n, c, h, w)."""
    split, n = trainer.dataset.train, trainer.config.batch_size
    mean, std = (each[:, None, None] for each in (trainer.replica.mean, trainer.replica.std))
    images = split.images[:n].astype(np.float32)
    return images, (images - mean) / std, split.labels[:n]


def prediction_of_noise(model: str, batch_size: int) -> tuple[Net, np.ndarray]:
    """Return a net, and random images for it; model: the name of a model."""
    net = build(model, MODELS[model].input_shape, CLASSES, seed=0)
    return net, np.random.default_rng(0).standard_normal((batch_size, *net.input_shape), np.float32)


def flops(net: Net) -> list[int]:
    """Return for each layer with weights the FLOPs per sample of the forward pass, by direct convolution."""
    pairs = zip(net.layers, net.shapes, strict=False)
    return [layer.flops(shape) for layer, shape in pairs if layer.parameters(shape)]


def checked(
    calls: dict[str, Callable | str], wanted: np.ndarray | float, tolerance: float = 1e-4
) -> dict[str, Callable | str]:
    """Make each call once and check its result; return the calls.

    A call that raises an exception is replaced by a text that names the exception. Raises SystemExit if a result is
    wrong, because then the benchmark would compare different computations.

    calls: {name: function, or a text that says why there is none}.
    wanted: the right result.
    tolerance: the largest allowed error, relative to the largest number of the result.
    """
    return {
        name: call if isinstance(call, str) else _checked(name, call, wanted, tolerance)
        for name, call in calls.items()
    }


def _checked(name, call, wanted, tolerance):
    try:
        found = np.asarray(call())
    except Exception as error:
        return f"not possible: {type(error).__name__}"
    off = np.abs(found - wanted).max() / np.abs(wanted).max()
    if not off < tolerance:
        raise SystemExit(f"{name} computes something else: its result is off by {off:.1e}")
    return call
