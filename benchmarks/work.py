"""What is measured: training steps of our nets on noise, and the check that all contenders compute the same."""

import numpy as np

from distcnn.config.settings import Config
from distcnn.data.dataset import Dataset, Split
from distcnn.models import MODELS, build
from distcnn.parallel.serial import SerialComm
from distcnn.training.trainer import Trainer

SAMPLES, CLASSES = 4096, 10


def training_on_noise(model, batch_size):
    """Return a Trainer of a model by name, on random uint8 images and labels, its kernels compiled."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (SAMPLES, *MODELS[model].input_shape), dtype=np.uint8)
    part = Split(images, rng.integers(0, CLASSES, SAMPLES).astype(np.int32))
    config = Config(
        model=model, batch_size=batch_size, epochs=10**6, learning_rate=0.01, warmup_epochs=0.0, threads=1
    )
    trainer = Trainer(config, Dataset("noise", "", tuple("0123456789"), part, None), SerialComm())
    trainer.compile()
    return trainer


def stepping(trainer):
    """Return a function that does a step, the gathering of its batch included."""
    batches = trainer.remaining()

    def step():
        trainer.step(next(batches))
        if trainer.epoch_done:
            trainer.next_epoch()

    return step


def batch_of(trainer):
    """Return a batch: images as they are, float32 (n, c, h, w), the same normalized, as peers need them, and labels."""
    part, n = trainer.dataset.train, trainer.config.batch_size
    mean, std = (each[:, None, None] for each in (trainer.replica.mean, trainer.replica.std))
    images = part.images[:n].astype(np.float32)
    return images, (images - mean) / std, part.labels[:n]


def prediction_of_noise(model, batch_size):
    """Return a net by name, and random images for it."""
    net = build(model, MODELS[model].input_shape, CLASSES, seed=0)
    return net, np.random.default_rng(0).standard_normal((batch_size, *net.input_shape), np.float32)


def flops(net):
    """Return the FLOPs of a sample's forward pass in each layer with weights, as direct convolution has them."""
    pairs = zip(net.layers, net.shapes, strict=False)
    return [layer.flops(shape) for layer, shape in pairs if layer.parameters(shape)]


def checked(calls, wanted, tolerance=1e-4):
    """Return the calls by name; a call that raises an exception is replaced by a string that names it.

    Raises SystemExit unless the first result of every call is `wanted`: otherwise, other things would be compared.
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
