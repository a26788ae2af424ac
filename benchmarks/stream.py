"""Measure training on a file that is streamed: steps and memory compared with memory mode, reading, and the mixture.

    python benchmarks/stream.py

Steps in both modes take turns, on one core with one thread, with which the reader's thread shares the core.
"""

from __future__ import annotations

import os
import time
from functools import partial
from math import prod
from pathlib import Path

import h5py
import numpy as np
from commands import FOLDER, Run, ours
from rounds import Table, arguments
from work import stepping

from distcnn.bench.measure import best
from distcnn.config.settings import Config
from distcnn.data.dataset import load
from distcnn.data.splits import Split
from distcnn.data.stream.batches import StreamedBatches
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.order import LEAST, Order, window_units
from distcnn.data.stream.units import unit_rows, units_of
from distcnn.models import MODELS
from distcnn.parallel.serial import SerialComm
from distcnn.training.trainer import Trainer

BATCH_SIZE, WINDOW = 128, 2**27
MEGABYTES, QUICK = 1024, 24  # of the files, and with --quick
STEPS = {"lenet5": 400, "resnet20": 10}  # of a measurement
GZIP = {"compression": "gzip", "compression_opts": 4}
FILES = [(model, name, storage) for model in STEPS for name, storage in (("contiguous", {}), ("gzip", GZIP))]


def made(model: str, megabytes: int, storage: dict) -> Path:
    """Return a file of noise, in 16 levels so that it can be packed, with images as a model takes them, by class."""
    shape = MODELS[model].input_shape
    n = megabytes * 2**20 // prod(shape)
    path, rows = FOLDER / f"{model}-{'-'.join(storage)}.h5", unit_rows(n, prod(shape), 1)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        chunks = (rows, *shape) if storage else None
        images = file.create_dataset("train/images", (n, *shape), np.uint8, chunks=chunks, **storage)
        for first in range(0, n, rows):
            images[first : first + rows] = rng.integers(0, 16, (min(rows, n - first), *shape), np.uint8)
        file["train/labels"] = np.arange(n) * 10 // n
    return path


def trainer(path: Path, model: str, mode: str) -> Trainer:
    """Return a Trainer with compiled kernels."""
    config = Config(
        model=model,
        data=str(path),
        data_mode=mode,
        batch_size=BATCH_SIZE,
        epochs=10**6,
        learning_rate=1e-4,
        threads=1,
    )
    found = Trainer(config, load(path, SerialComm(), mode=mode), SerialComm())
    found.compile()
    return found


def repeated(step, count: int) -> None:
    """Compute some steps."""
    for _ in range(count):
        step()


def measure_steps(table: Table, megabytes: int) -> None:
    """Measure steps of both modes; the ratio is memory mode's time to that of the stream."""
    for model, name, storage in FILES:
        what = f"{model} steps, {name}"
        if not table.wants(what):
            continue
        path, count = made(model, megabytes, storage), 3 if table.options.quick else STEPS[model]
        streamed, memory = (trainer(path, model, mode) for mode in ("stream", "memory"))
        calls = [partial(repeated, stepping(each), count) for each in (streamed, memory)]
        table.compare(what, calls[0], {"in memory": calls[1]})
        streamed.batches.close()


def batches(images: StreamedImages, rank: int = 0, size: int = 1) -> StreamedBatches:
    """Return the batches of a rank, for one epoch."""
    split = Split(images, np.zeros(len(images), np.int32))
    return StreamedBatches(split, BATCH_SIZE, 0, rank, size, window=WINDOW, epochs=1)


def measure_reading(table: Table, megabytes: int) -> None:
    """Measure the reader alone, compared with bare reading of the same units, and with what LeNet-5 consumes."""
    if not table.wants("reading"):
        return
    path, count = made("lenet5", megabytes, {}), 3 if table.options.quick else STEPS["lenet5"]
    images, packed = (
        load(each, SerialComm(), mode="stream").train.images
        for each in (path, made("lenet5", megabytes, GZIP))
    )
    step, steps = stepping(trainer(path, "lenet5", "memory")), -(-len(images) // BATCH_SIZE)
    step()
    peers = {
        "pread": lambda: best(partial(bare, path, images), 1),
        "gzip": lambda: exhaust(packed),
        "steps of LeNet-5": lambda: best(partial(repeated, step, count), 1) / count * steps,
    }
    table.row("reading, contiguous, an epoch", lambda: exhaust(images), peers)
    for ranks in (1, 2, 3, 8):
        table.add(f"reading, bytes of {ranks} ranks / size", amplification(images, ranks), "ratio")


def exhaust(images: StreamedImages, rank: int = 0, size: int = 1) -> float:
    """Take all batches of an epoch without computing; return the seconds."""
    found = batches(images, rank, size)
    begin = time.perf_counter()
    for _ in found.epoch(0):
        pass
    return time.perf_counter() - begin


def bare(path: Path, images: StreamedImages) -> None:
    """Read the units of an epoch in their order, by the system's calls alone."""
    order = Order(0, 0, images.units.size, BATCH_SIZE, LEAST)
    with h5py.File(path, locking=False) as file:
        offset = file["train/images"].id.get_offset()
    buffer, row = bytearray(images.units.largest * images.image_bytes), images.image_bytes
    with open(path, "rb", buffering=0) as file:
        for unit in order.line:
            start, size = int(images.units.start[unit]), int(images.units.size[unit])
            os.preadv(file.fileno(), [memoryview(buffer)[: size * row]], offset + start * row)


def amplification(images: StreamedImages, ranks: int) -> float:
    """Return how many bytes all ranks read in an epoch, in relation to the images."""
    before = images.source.bytes_read
    for rank in range(ranks):
        exhaust(images, rank, ranks)
    return (images.source.bytes_read - before) / (len(images) * images.image_bytes)


def measure_memory(table: Table, megabytes: int) -> None:
    """Measure a rank's memory beyond that of a run on few data, compared with what the formula says."""
    if not table.wants("memory"):
        return
    path, small = made("lenet5", megabytes, {}), made("lenet5", 1, {"shuffle": True})
    options = "--epochs", 1, "--batch-size", BATCH_SIZE, "--threads", 1, "--learning-rate", 1e-4
    last = ["--max-steps", 5] if table.options.quick else []

    def used(data: Path, mode: str) -> int:
        words = ours(1, *options, *last, "--data", data, "--data-mode", mode)
        return Run(words, watched=True).memory

    table.add(
        "memory of windows", used(path, "stream") - used(small, "memory"), "bytes", formula=formula(path)
    )
    table.add("memory of windows, by the formula", formula(path), "bytes")


def formula(path: Path) -> int:
    """Return the bytes that one rank may need: two windows a position, two units, labels, and the order."""
    images = load(path, SerialComm(), mode="stream").train.images
    unit, positions = images.units.largest * images.image_bytes, -(-BATCH_SIZE // 16)
    windows = min(
        positions * 2 * window_units(WINDOW, positions, unit) * unit, 2 * len(images) * images.image_bytes
    )
    return windows + 2 * unit + 4 * len(images) + 220 * len(images.units.size)


def measure_mixture(table: Table, n: int) -> None:
    """Compute chi squared of the labels of 100 batches, per degree of freedom, of samples sorted by class."""
    if not table.wants("mixture"):
        return
    row = 784
    sizes = units_of([(0, n, unit_rows(n, row, 1))]).size
    unit = int(sizes.max()) * row
    order = Order(0, 0, sizes, BATCH_SIZE, window_units(WINDOW, BATCH_SIZE // 16, unit))
    for classes in (10, 100):
        found = chi_squared(order, np.arange(n) * classes // n, classes)
        table.add(f"mixture, {classes} classes, chi squared", found, "ratio")


def chi_squared(order: Order, labels: np.ndarray, classes: int) -> float:
    """Return the mean over several stretches of 100 batches; 1 is that of a full shuffle."""
    windows = [order.windows_of(position) for position in range(len(order.width))]
    lines = [
        np.concatenate([order.numbers(each)[order.shuffled(position, each)] for each in some])
        for position, some in enumerate(windows)
    ]
    found = []
    for step in range(0, len(lines[0]) // 16 - 100, 100):
        pieces = [line[16 * step : 16 * (step + 100)] for line in lines]
        counts = np.bincount(labels[np.concatenate(pieces)], minlength=classes)
        wanted = counts.sum() / classes
        found.append(((counts - wanted) ** 2 / wanted).sum() / (classes - 1))
    return float(np.mean(found))


def main() -> None:
    """Measure, print and save the results."""
    table = Table("stream", arguments(__doc__), rounds=5)
    megabytes = QUICK if table.options.quick else MEGABYTES
    measure_steps(table, megabytes)
    measure_reading(table, megabytes)
    measure_memory(table, megabytes)
    measure_mixture(table, 100_000 if table.options.quick else 1_000_000)
    table.save()


if __name__ == "__main__":
    main()
