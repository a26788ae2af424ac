"""Train with PyTorch on images that its DataLoader reads from an HDF5 file through h5py, in the two usual ways.

    python benchmarks/peer_dataloader.py --data FILE.h5 --model lenet5 --reading chunks --steps 100

Random access is how most people write it: a Dataset returns the sample of a number, and the DataLoader shuffles the
numbers. Chunk by chunk is the fastest way that we know: a worker reads whole chunks in random order, and shuffles the
samples of eight of them at a time, so that each worker hands over whole batches.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import peer_ddp
import peer_resnet
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

CHUNK = 256  # rows that are read at once
POOL = 8  # chunks that are shuffled together
MEAN, STD = 7.5, 4.6  # of the noise that is trained on
NETS = {"lenet5": peer_ddp.lenet5, "resnet20": lambda: peer_resnet.resnet20(10)}


class Samples(Dataset):
    """The samples of a file, one by one; every worker opens the file when it reads the first one."""

    def __init__(self, path: str) -> None:
        self._path, self._file = path, None
        with h5py.File(path) as file:
            self._length = len(file["train/labels"])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, k: int) -> tuple[torch.Tensor, int]:
        if self._file is None:
            self._file = h5py.File(self._path)
        return torch.from_numpy(self._file["train/images"][k]), int(self._file["train/labels"][k])


class Batches(IterableDataset):
    """Batches of a file, whose chunks the workers divide among themselves."""

    def __init__(self, path: str, batch_size: int) -> None:
        self._path, self._batch_size = path, batch_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        worker, rng = get_worker_info(), np.random.default_rng(0)
        with h5py.File(self._path) as file:
            images, labels = file["train/images"], file["train/labels"]
            chunks = rng.permutation(-(-len(labels) // CHUNK))
            mine = chunks[worker.id :: worker.num_workers] if worker else chunks
            for first in range(0, len(mine), POOL):
                rows = [slice(k * CHUNK, (k + 1) * CHUNK) for k in mine[first : first + POOL]]
                x, y = (np.concatenate([array[some] for some in rows]) for array in (images, labels))
                for batch in np.array_split(rng.permutation(len(y)), max(1, len(y) // self._batch_size)):
                    yield torch.from_numpy(x[batch]), torch.from_numpy(y[batch])


def loader(options: argparse.Namespace) -> DataLoader:
    """Return the DataLoader of one of the two ways."""
    workers = {"num_workers": options.workers, "persistent_workers": options.workers > 0}
    if options.reading == "chunks":
        return DataLoader(Batches(options.data, options.batch_size), batch_size=None, **workers)
    return DataLoader(Samples(options.data), options.batch_size, shuffle=True, **workers)


def endless(batches: DataLoader) -> Iterator:
    """Yield batches, epoch after epoch."""
    while True:
        yield from batches


def train(options: argparse.Namespace) -> None:
    """Compute some steps; before the first one, write the file --ready."""
    layout = peer_ddp.LAYOUTS[options.layout]
    net, cross_entropy = NETS[options.model]().to(memory_format=layout), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=peer_ddp.MOMENTUM, fused=True)
    batches = endless(loader(options))
    for step in range(options.steps + 1):
        x, y = next(batches)
        if step == 1 and options.ready:  # the first step, in which workers start, does not count
            Path(options.ready).write_text("training\n")
        x = x.float().sub_(MEAN).div_(STD).contiguous(memory_format=layout)
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        optimizer.step()


def main() -> None:
    """Read the command line, and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--ready", help="a file to write when training begins")
    parser.add_argument("--model", choices=NETS, default="lenet5")
    parser.add_argument("--reading", choices=("random", "chunks"), default="random")
    parser.add_argument("--layout", choices=peer_ddp.LAYOUTS, default="contiguous")
    for name, default in {"batch-size": 128, "steps": 100, "threads": 1, "workers": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options)


if __name__ == "__main__":
    main()
