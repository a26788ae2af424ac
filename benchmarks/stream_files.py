"""The files that stream.py measures."""

from __future__ import annotations

from math import prod
from pathlib import Path

import h5py
import numpy as np
from commands import FOLDER

from distcnn.data.dataset import load
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.units import unit_rows
from distcnn.models import MODELS
from distcnn.parallel.serial import SerialComm

BATCH_SIZE, WINDOW = 128, 2**27
GZIP = {"compression": "gzip", "compression_opts": 4}


def made(model: str, megabytes: int, storage: dict) -> Path:
    """Return a file of noise, in 16 levels so that it can be packed, with images as a model takes them, by class."""
    shape = MODELS[model].input_shape
    n = megabytes * 2**20 // prod(shape)
    path, rows = FOLDER / f"{model}-{megabytes}-{'-'.join(storage)}.h5", unit_rows(n, prod(shape), 1)
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        chunks = (rows, *shape) if storage else None
        images = file.create_dataset("train/images", (n, *shape), np.uint8, chunks=chunks, **storage)
        for first in range(0, n, rows):
            images[first : first + rows] = rng.integers(0, 16, (min(rows, n - first), *shape), np.uint8)
        file["train/labels"] = np.arange(n) * 10 // n
    return path


def images_of(path: Path) -> StreamedImages:
    """Return the training images of a file, as they are streamed."""
    return load(path, SerialComm(), mode="stream").train.images
