"""Small files to be streamed, in many units: as real files would need many megabytes, a unit is made of a few rows."""

import h5py
import numpy as np

from distcnn.config.parser import parse
from distcnn.data.dataset import load
from distcnn.data.stream import units
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.source import Part
from distcnn.training.trainer import Trainer

SHAPE = (1, 12, 12)
TRAIN, TEST = 1500, 100  # images
STORAGE = {
    "contiguous": {},
    "gzip": {"chunks": (4, *SHAPE), "compression": "gzip", "shuffle": True},
    "lzf": {"chunks": (1, *SHAPE), "compression": "lzf"},
    "rows": {
        "chunks": (2, 1, 5, 7),
        "compression": "gzip",
    },  # chunks that divide images, and reach beyond them
}


def small_units(monkeypatch, size=1024):
    """Let units have about `size` bytes."""
    monkeypatch.setattr(units, "TARGET", size)


def numbered(n, shape=SHAPE, dtype="uint8"):
    """Return n images that differ, and labels, sorted by class."""
    images = np.random.default_rng(0).integers(0, 200, (n, *shape)).astype(dtype)
    labels = np.sort(np.arange(n) % 10)
    return images + labels.astype(dtype).reshape(-1, *[1] * len(shape)), labels


def write(path, storage="contiguous", train=TRAIN, test=TEST, dtype="uint8", **changes):
    """Write a dataset's file; return its path."""
    with h5py.File(path, "w") as file:
        for split, n in (("train", train), ("test", test)):
            images, labels = numbered(n, dtype=dtype)
            file.create_dataset(f"{split}/images", data=images, **(STORAGE[storage] | changes))
            file[f"{split}/labels"] = labels
    return path


def streamed(path, images, **storage):
    """Write images to a file, and return a StreamedImages of it."""
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, **storage)
    dtype = np.dtype(images.dtype.name)
    return StreamedImages.of_parts([Part(path, "images")], images.shape[1:], dtype)


def trainer(comm, *options):
    """Return a trainer of a streamed dataset."""
    words = ["--data-mode", "stream", "--model", "convolutional", *map(str, options)]
    config = parse(words, "test").config
    data = load(config.data, comm, config.validation_split, config.seed, mode=config.data_mode)
    return Trainer(config, data, comm)


def train(made, steps):
    """Train up to a step, and return the trainer."""
    for blocks in made.remaining():
        made.step(blocks)
        if made.epoch_done:
            made.next_epoch()
        if made.steps == steps:
            break
    made.batches.close()
    return made
