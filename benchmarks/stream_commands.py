"""The rows of stream.py that run whole commands: memory, the accuracy on sorted samples, resuming, and a DataLoader."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import peers
from commands import FOLDER, HERE, Run, mnist, ours
from rounds import Table
from stream_files import BATCH_SIZE, WINDOW, images_of, made

from distcnn.data.stream.order import window_units

GIGABYTES = 10  # of the file whose windows' memory is measured
POOL = 0.05  # of sorted MNIST, that is shuffled together
ROWS_OF_A_UNIT = 16  # so that a pool of that size has many units, as in a large file
SEEDS, EPOCHS = 5, 5
STEPS = {"lenet5": 2000, "resnet20": 60}  # of a measurement beside the DataLoader
VARIANTS = [(threads, layout) for threads in (1, 2) for layout in ("contiguous", "channels_last")]
FIXED = "--epochs", 1, "--batch-size", BATCH_SIZE, "--threads", 1, "--learning-rate", 1e-4


def measure_memory(table: Table, megabytes: int) -> None:
    """Measure a rank's memory beyond that of a run on few data, compared with what the formula says."""
    path = made("lenet5", megabytes if table.options.quick else GIGABYTES * 1000**3 // 2**20, {})
    small = made("lenet5", 1, {"shuffle": True})
    steps = 5 if table.options.quick else 3000  # which use two windows of each position

    def used(data: Path, mode: str) -> int:
        words = ours(1, *FIXED, "--max-steps", steps, "--data", data, "--data-mode", mode)
        return Run(words, watched=True).memory

    found, formula = used(path, "stream") - used(small, "memory"), formula_of(path)
    table.add("memory of windows", found, "bytes")
    table.add("memory of windows, by the formula", formula, "bytes")
    table.add("memory of windows beyond the formula", found - formula, "bytes", limit=2**24)
    path.unlink()


def formula_of(path: Path) -> int:
    """Return the bytes that one rank may need: two windows a position, two units, labels, and the order."""
    images = images_of(path)
    unit, positions = images.units.largest * images.image_bytes, -(-BATCH_SIZE // 16)
    windows = min(
        positions * 2 * window_units(WINDOW, positions, unit) * unit, 2 * len(images) * images.image_bytes
    )
    return windows + 2 * unit + 4 * len(images) + 220 * len(images.units.size)


def measure_sorted(table: Table, megabytes: int) -> None:
    """Measure by how many points the accuracy on MNIST, sorted by class and streamed, is below that in memory."""
    source = mnist()
    if source is None:
        return
    path, size = _sorted(source)
    seeds, epochs = (1, 1) if table.options.quick else (SEEDS, EPOCHS)
    window = int(POOL * size)
    found = [
        [_accuracy(path, mode, seed, epochs, window) for mode in ("memory", "stream")]
        for seed in range(seeds)
    ]
    memory, stream = 100 * np.mean(found, axis=0)
    table.add("sorted MNIST, % right in memory", memory, "ratio")
    table.add("sorted MNIST, % right streamed", stream, "ratio", pool=POOL)
    table.add("sorted MNIST, points lost", memory - stream, "ratio", limit=0.3)


def _sorted(source: Path) -> tuple[Path, int]:
    """Return a copy of a dataset whose training samples are sorted by class, and the bytes of its images."""
    path = FOLDER / "sorted.h5"
    with h5py.File(source) as old, h5py.File(path, "w") as new:
        order = np.argsort(old["train/labels"][()], kind="stable")
        for name in ("train/images", "train/labels", "test/images", "test/labels"):
            new[name] = old[name][()][order] if name.startswith("train") else old[name][()]
        return path, new["train/images"].nbytes


def _accuracy(path: Path, mode: str, seed: int, epochs: int, window: int) -> float:
    """Train, and return the accuracy on the test split, from 0 to 1."""
    window_option = ["--window", window] if mode == "stream" else []
    options = "--epochs", epochs, "--threads", 1, "--data", path, "--data-mode", mode, "--seed", seed
    words = ours(1, *options, *window_option)
    with h5py.File(path) as file:
        target = ROWS_OF_A_UNIT * file["train/images"][0].nbytes
    code = f"import sys; from distcnn.data.stream import units; units.TARGET = {target}; "
    code += "from distcnn.parallel.world import run; from distcnn.train import main; run(main)"
    Run([sys.executable, "-c", code, *words[3:]])
    lines = Path(words[words.index("--out") + 1], "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[-1])["test_accuracy"]


def measure_resume(table: Table, megabytes: int) -> None:
    """Measure the seconds of a resumed command with one step, at 99 % of an epoch, compared with 1 %."""
    path = made("lenet5", megabytes, {})
    steps = len(images_of(path)) // BATCH_SIZE
    calls = {}
    for percent in (99, 1):
        step = max(1, steps * percent // 100)
        words = ours(1, *FIXED, "--data", path, "--data-mode", "stream")
        Run([*words, "--max-steps", str(step)])
        calls[percent] = partial(_resumed, words, step)
    table.row("resume at 99 %", calls[99], {"at 1 %": calls[1]}, unit="command")


def _resumed(words: list[str], step: int) -> float:
    """Return the seconds in which a copy of a run computes one step more."""
    place = words.index("--out") + 1
    copy = f"{tempfile.mkdtemp(dir=FOLDER)}/run"
    shutil.copytree(words[place], copy)
    words = [*words[:place], copy, *words[place + 1 :]]
    return Run([*words, "--resume", "auto", "--max-steps", str(step + 1)]).seconds


def measure_loader(table: Table, megabytes: int, model: str, reading: str) -> None:
    """Measure 100,000 samples by two ranks, compared with PyTorch and its DataLoader, on two cores."""
    what = f"DataLoader, {model}, {reading}"
    if why := peers.missing("peer_dataloader"):
        print(f"{what}: PyTorch {why}")
        return
    path, steps = made(model, megabytes, {}), 3 if table.options.quick else STEPS[model]
    options = "--model", model, *FIXED, "--max-steps", steps, "--data", path, "--data-mode", "stream"
    variants = VARIANTS[:1] if table.options.quick else VARIANTS
    calls = {
        f"{threads} threads {layout}": _theirs(path, model, reading, steps, threads, layout)
        for threads, layout in variants
    }
    table.row(what, lambda: _seconds(ours(2, *options), steps), calls, unit="command")


def _theirs(
    path: Path, model: str, reading: str, steps: int, threads: int, layout: str
) -> Callable[[], float]:
    """Return a function that measures the peer, with one process that reads, and some threads that compute."""
    steps = max(3, steps // 5)
    words = [
        sys.executable,
        HERE / "peer_dataloader.py",
        "--data",
        path,
        "--model",
        model,
        "--reading",
        reading,
    ]
    words += ["--steps", steps, "--threads", threads, "--layout", layout, "--batch-size", BATCH_SIZE]
    return lambda: _seconds([str(word) for word in words], steps)


def _seconds(words: list[str], steps: int) -> float:
    """Return the seconds from a command's first step to its end, for 100,000 samples."""
    done = Run(words)
    return (done.seconds - done.ready) / (steps * BATCH_SIZE) * 1e5
