"""Measure training on a file that is streamed: every ratio that is promised of it, each a row or some rows.

    python benchmarks/stream.py                      all rows
    python benchmarks/stream.py --only resume        the rows whose name contains this word
    python benchmarks/stream.py --quick              all rows on small files, to see that they work

Steps of both modes take turns on one core with one thread, with which the reader's thread shares the core; a round has
as many as use a window, because nothing is read towards its end. The reader is compared with bare reading of the same
units into as much memory as its windows have. Both are times of the processor, with the file in memory. Whole commands
have all cores. Numbers behind a row are its limit, and the minutes that it takes on two quiet cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from rounds import Table, arguments
from stream_commands import measure_loader, measure_memory, measure_resume, measure_sorted
from stream_files import BATCH_SIZE, GZIP, WINDOW, images_of, made
from work import stepping

from distcnn.bench.measure import best
from distcnn.config.settings import Config
from distcnn.data.dataset import load
from distcnn.data.splits import Split
from distcnn.data.stream.batches import StreamedBatches
from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.order import Order, window_units
from distcnn.data.stream.reader import Reader
from distcnn.data.stream.schedule import Schedule
from distcnn.data.stream.units import unit_rows, units_of
from distcnn.lanes import LANES
from distcnn.parallel.serial import SerialComm
from distcnn.training.trainer import Trainer

MEGABYTES, QUICK = 1024, 24  # of the files, and with --quick
WINDOWS = {"lenet5": WINDOW, "resnet20": 2**22}  # the steps of larger ones would take minutes
TURNS = 16  # of both modes in a round
STEPS = 400  # of LeNet-5, to be compared with reading
RANKS = (1, 2, 3, 8)


def trainer(path: Path, model: str, mode: str) -> Trainer:
    """Return a Trainer with compiled kernels."""
    config = Config(
        model=model,
        data=str(path),
        data_mode=mode,
        window=WINDOWS[model],
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


def measure_steps(table: Table, megabytes: int, model: str, storage: dict) -> None:
    """Measure steps of both modes; the ratio is memory mode's time to that of the stream."""
    path, turns = made(model, megabytes, storage), 1 if table.options.quick else TURNS
    trainers = [trainer(path, model, mode) for mode in ("stream", "memory")]
    order, length = order_of(trainers[0].dataset.train.images, WINDOWS[model]), trainers[0].batches.length
    count = 3 if table.options.quick else -(-length // (order.windows * turns))
    calls = [partial(repeated, stepping(each), count) for each in trainers]
    times: list[float] = []
    alternately(*calls, turns)  # so that the memory of the windows has been used

    def both() -> float:
        times[:] = alternately(*calls, turns)
        return times[0]

    table.row(f"{model} steps, {_name(storage)}", both, {"in memory": lambda: times[1]})
    trainers[0].batches.close()


def alternately(
    streamed: Callable[[], None], in_memory: Callable[[], None], turns: int
) -> tuple[float, float]:
    """Make two calls in turns; return the seconds of each, those of all other threads as the first one's."""
    begin, ours = time.process_time(), 0.0
    for _ in range(turns):
        streamed()
        start = time.thread_time()
        in_memory()
        ours += time.thread_time() - start
    return time.process_time() - begin - ours, ours


def order_of(images: StreamedImages, window: int, epoch: int = 0) -> Order:
    """Return the order of an epoch; window: its size, of all positions together, in bytes."""
    most = window_units(window, BATCH_SIZE // LANES, images.units.largest * images.image_bytes)
    return Order(0, epoch, images.units.size, BATCH_SIZE, most)


def _name(storage: dict) -> str:
    return storage.get("compression", "contiguous")


def batches(images: StreamedImages, rank: int = 0, size: int = 1) -> StreamedBatches:
    """Return the batches of a rank, for one epoch."""
    split = Split(images, np.zeros(len(images), np.int32))
    return StreamedBatches(split, BATCH_SIZE, 0, rank, size, window=WINDOW, epochs=1)


def measure_reading(table: Table, megabytes: int) -> None:
    """Measure the reader alone, compared with bare reading, and all batches, compared with what LeNet-5 consumes."""
    path, count = made("lenet5", megabytes, {}), 3 if table.options.quick else STEPS
    images, packed = map(images_of, (path, made("lenet5", megabytes, GZIP)))
    step, steps = stepping(trainer(path, "lenet5", "memory")), -(-len(images) // BATCH_SIZE)
    step()
    eaten = {"steps of LeNet-5": lambda: best(partial(repeated, step, count), 1) / count * steps}
    alone, pread = (
        partial(best, call, table.repeats) for call in (partial(read, images), partial(bare, path, images))
    )
    table.row("reading, contiguous, an epoch", alone, {"pread": pread})
    for name, each in (("contiguous", images), ("gzip", packed)):
        table.row(f"reading, {name}, beside LeNet-5", partial(best, partial(exhaust, each), 1), eaten)


def read(images: StreamedImages) -> None:
    """Read all windows of an epoch, without making batches."""
    share, length = range(BATCH_SIZE // LANES), -(-len(images) // BATCH_SIZE)
    order = partial(order_of, images, WINDOW)
    turns = {turn.first for turns in Schedule(order(), share, 0, 0, []).turns for turn in turns}
    reader = Reader(images, order, share, length, range(1), 0)
    for step in sorted(turns):
        reader.wait(0, step)


def measure_bytes(table: Table, megabytes: int) -> None:
    """Count the bytes that all ranks read in an epoch, compared with those of the images."""
    images = images_of(made("lenet5", megabytes, {}))
    for ranks in RANKS:
        table.add(
            f"reading, bytes of {ranks} ranks / size", amplification(images, ranks), "ratio", limit=1.01
        )


def exhaust(images: StreamedImages, rank: int = 0, size: int = 1) -> None:
    """Take all batches of an epoch without computing."""
    for _ in batches(images, rank, size).epoch(0):
        pass


def bare(path: Path, images: StreamedImages) -> None:
    """Read the units of an epoch in their order, by the system's calls alone."""
    with h5py.File(path, locking=False) as file:
        offset = file["train/images"].id.get_offset()
    row, unit_bytes = images.image_bytes, images.units.largest * images.image_bytes
    room = max(2 * WINDOW // unit_bytes, 1)  # units
    buffer = memoryview(np.empty(room * unit_bytes, np.uint8))
    with open(path, "rb", buffering=0) as file:
        for number, unit in enumerate(order_of(images, WINDOW).line):
            start, size = int(images.units.start[unit]), int(images.units.size[unit])
            target = buffer[number % room * unit_bytes :][: size * row]
            os.preadv(file.fileno(), [target], offset + start * row)


def amplification(images: StreamedImages, ranks: int) -> float:
    """Return how many bytes all ranks read in an epoch, in relation to the images."""
    before = images.source.bytes_read
    for rank in range(ranks):
        exhaust(images, rank, ranks)
    return (images.source.bytes_read - before) / (len(images) * images.image_bytes)


def measure_mixture(table: Table, megabytes: int) -> None:
    """Compute chi squared of the labels of 100 batches, per degree of freedom, of samples sorted by class."""
    row, n = 784, 100_000 if table.options.quick else 1_000_000
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


Measure = Callable[[Table, int], None]
ONE_CORE: dict[str, tuple[Measure, str]] = {
    **{
        f"{model} steps, {_name(storage)}": (partial(measure_steps, model=model, storage=storage), note)
        for model, storage, note in (
            ("lenet5", {}, "0.97 and more; 1"),
            ("lenet5", GZIP, "0.91 and more; 2"),
            ("resnet20", {}, "0.97 and more; 2"),
            ("resnet20", GZIP, "0.98 and more; 3"),
        )
    },
    "reading": (measure_reading, "0.8, 5 and more; 2"),
    "reading, bytes": (measure_bytes, "1.01 at most; 1"),
    "mixture": (measure_mixture, "2.5 at most with 10 classes; 1"),
}
ALL_CORES: dict[str, tuple[Measure, str]] = {
    "memory": (measure_memory, "16 MiB beyond the formula at most; 2, and 10 GB of disk"),
    "sorted MNIST": (measure_sorted, "0.3 points at most; 3"),
    "resume": (measure_resume, "0.83 and more; 2"),
    **{
        f"DataLoader, {model}, {reading}": (partial(measure_loader, model=model, reading=reading), note)
        for model, reading, note in (
            ("lenet5", "random", "5 and more; 6"),
            ("lenet5", "chunks", "5 and more; 4"),
            ("resnet20", "random", "2 and more; 8"),
            ("resnet20", "chunks", "2 and more; 8"),
        )
    },
}


def main() -> None:
    """Measure, print and save the results."""
    notes = [f"  {name:34s} {note}" for name, (_, note) in (ONE_CORE | ALL_CORES).items()]
    options = arguments(__doc__, "\n".join(["rows, their limits and minutes:", *notes]))
    cores = os.sched_getaffinity(0)
    table = Table("stream", options, rounds=5)
    for rows in (ONE_CORE, ALL_CORES):
        for name, (measure, _) in rows.items():
            if table.wants(name):
                measure(table, QUICK if options.quick else MEGABYTES)
        os.sched_setaffinity(0, cores)
    table.save()


if __name__ == "__main__":
    main()
