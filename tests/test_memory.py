"""Nets that need more memory than there is are refused in a line, before anything is allocated."""

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from distcnn import Net, layers, models
from distcnn.config.settings import Config
from distcnn.errors import NetError
from distcnn.network import memory
from distcnn.network.shapes import infer_shapes, parameter_counts
from distcnn.training.optimizers import AdamW
from tests.helpers.nets import OTHERS


@pytest.mark.parametrize(
    ("name", "net", "shape", "layer", "size"),
    [
        ("weights", [layers.Flatten(), layers.Dense(10**9)], (3, 300, 300), "layer 1: Dense", "TiB"),
        ("output", [layers.ReLU(), layers.Conv2D(10**6, 3)], (1, 10**4, 10**4), "layer 1: Conv2D", "TiB"),
        (
            "beyond 64 bits",
            [layers.Flatten(), layers.Dense(9)],
            (10**9, 10**9, 10**9),
            "layer 1: Dense",
            "TiB",
        ),
    ],
)
def test_absurd_nets_are_refused(name, net, shape, layer, size):
    tracemalloc.start()
    try:
        with pytest.raises(
            NetError, match=f"^{layer}.* takes .* {size} of memory, the whole net .* but only"
        ):
            Net(net, shape)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_just_fits_is_not_refused(monkeypatch):
    net = [layers.Flatten(), layers.Dense(100)]
    needed = 12 * (49 * 100 + 100) + 4 * 16 * 100
    monkeypatch.setattr(memory, "available", lambda: needed)
    Net(net, (1, 7, 7))
    monkeypatch.setattr(memory, "available", lambda: needed - 1)
    with pytest.raises(NetError, match=r"^layer 1: Dense\(100\)"):
        Net(net, (1, 7, 7))


@pytest.mark.parametrize(
    ("net", "shape"), [(OTHERS, (2, 8, 8)), (models.MODELS["lenet5"].layers((1, 28, 28), 10), (1, 28, 28))]
)
def test_no_more_is_wanted_than_training_takes(net, shape):
    """What is refused must really be too large: the estimate stays below what is allocated, yet not far below."""
    Net(net, shape).group  # noqa: B018  compiled before it is measured
    tracemalloc.start()
    try:
        made = Net(net, shape)
        optimizer, group = AdamW(made, Config()), made.group
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    shapes, parameter_specs, statistic_specs = infer_shapes(net, shape)
    counts = parameter_counts(parameter_specs, statistic_specs)
    estimated = sum(memory.of_training(net, counts, shapes, slots=len(optimizer.arrays)))
    assert group
    assert taken / 4 < estimated <= taken


def test_the_strictest_limit_counts(monkeypatch, tmp_path):
    """Of the machine, and of all control groups around this process, of either version."""
    for name in ("GROUPS", "CGROUPS", "MEMINFO"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    assert memory.available() > 2**60  # on a system that says nothing about its memory
    memory.MEMINFO.write_text("MemTotal:  9 kB\nMemAvailable:   8000 kB\nSwapFree: 3 kB\n")
    assert memory.available() == 8000 * 1024
    inner, old = memory.CGROUPS / "job" / "step", memory.CGROUPS / "memory" / "batch"
    for folder in (inner, old):
        folder.mkdir(parents=True)
    memory.GROUPS.write_text("5:cpu:/batch\n4:memory:/batch\n0::/job/step\n")
    (inner / "memory.max").write_text("max\n")
    assert memory.available() == 8000 * 1024
    (inner.parent / "memory.max").write_text("5000000\n")
    assert memory.available() == 5000000
    (old / "memory.limit_in_bytes").write_text("4000000\n")
    assert memory.available() == 4000000


@pytest.mark.mpi(ranks=(1, 2))
def test_at_the_command_line(comm, call):
    """Images of a million pixels: 22 TiB for a hidden layer as large."""
    if comm.rank == 0:
        with h5py.File("large.h5", "w") as file:
            file["train/images"] = np.arange(3 * 2**20, dtype=np.uint8).reshape(3, 1, 1024, 1024)
            file["train/labels"] = np.arange(3)
    done = call("distcnn.train", "--data", "large.h5", "--model", "full", "--batch-size", 32)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "layer 1: Dense" in line]
    assert len(lines) == 1
    assert "TiB of memory" in lines[0]
    assert "but only" in lines[0]
    assert ("for 2 ranks" in lines[0]) == (comm.size == 2)
    assert not Path("runs").exists()
