"""Train LeNet-5 with PyTorch's DistributedDataParallel (gloo), for comparisons with the command distcnn.train.

    python benchmarks/peer_ddp.py --data mnist.h5 --ranks 2 --epochs 6 [--layout channels_last]

The net, the distribution of initial weights, the schedule, the batches and the evaluations are the same. One process
loads PyTorch and the images, as one normalized tensor in shared memory, then forks into the ranks, which read slices of
the tensor: this is the fastest method that we know.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import h5py
import torch
from torch import distributed, nn

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
MOMENTUM = 0.9  # distcnn's default


def lenet5() -> nn.Module:
    """Return LeNet-5 for images of 28 x 28, initialized like ours (He et al. 2015; biases 0)."""
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    for layer in (each for each in net if hasattr(each, "weight")):
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if layer is net[-1] else "relu")
        nn.init.zeros_(layer.bias)
    return net


def learning_rate(options: argparse.Namespace, step: int, steps_an_epoch: int) -> float:
    """Return the learning rate of a step: a linear warmup, then half a cosine."""
    warmup, total = options.warmup_epochs * steps_an_epoch, options.epochs * steps_an_epoch
    if step < warmup:
        return options.learning_rate * (step + 1) / warmup
    return options.learning_rate * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1))) / 2


def data(path: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the splits train and test of a dataset: normalized images [n, 1, h, w] and labels, in shared memory."""
    with h5py.File(path) as file:
        kinds = "images", "labels"
        splits = {name: [torch.from_numpy(file[name][kind][:]) for kind in kinds] for name in file}
    pixels = splits["train"][0].float()
    mean, std = pixels.mean(), pixels.std()
    for split in splits.values():
        images = split[0].float().sub_(mean).div_(std)
        split[0] = images.view(len(images), 1, *images.shape[-2:]).share_memory_()
        split[1] = split[1].long().share_memory_()
    return splits["train"], splits["test"]


def train(
    rank: int,
    options: argparse.Namespace,
    store: str,
    train_split: list[torch.Tensor],
    test_split: list[torch.Tensor],
) -> None:
    """Train as one of the ranks; rank 0 prints the test accuracy after every epoch.

    rank: the number of this rank.
    options: the command line.
    store: the path of a file by which the ranks find each other.
    train_split, test_split: (images, labels) each, as from `data`.
    """
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=options.ranks)
    torch.manual_seed(options.seed)
    layout = LAYOUTS[options.layout]
    net = nn.parallel.DistributedDataParallel(lenet5().to(memory_format=layout), gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, momentum=MOMENTUM, fused=True)
    cross_entropy, (images, labels) = nn.CrossEntropyLoss(), train_split
    steps_an_epoch, step = -(-len(images) // options.batch_size), 0
    for epoch in range(options.epochs):
        generator = torch.Generator().manual_seed(epoch + 1000 * options.seed)
        order = torch.randperm(len(images), generator=generator)
        for batch in order.split(options.batch_size):
            mine = batch.chunk(options.ranks)[rank]
            x, y = images[mine].contiguous(memory_format=layout), labels[mine]
            optimizer.param_groups[0]["lr"] = learning_rate(options, step, steps_an_epoch)
            if step == 0:
                announce_ready(rank, options)
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            optimizer.step()
            step += 1
        accuracy = evaluate(net.module, test_split, rank, options.ranks, layout)
        if rank == 0:
            print(f"{time.monotonic():.3f} accuracy {accuracy:.4f}", flush=True)


def announce_ready(rank: int, options: argparse.Namespace) -> None:
    """Wait until all ranks are ready for the first step, then write the file --ready, if that option was given."""
    if options.ready:
        distributed.barrier()
        if rank == 0:
            Path(options.ready).write_text("training\n")


def evaluate(
    net: nn.Module, split: list[torch.Tensor], rank: int, ranks: int, layout: torch.memory_format
) -> float:
    """Return the accuracy on a split; each rank evaluates a part of the split."""
    images, labels = (each.chunk(ranks)[rank] for each in split)
    with torch.inference_mode():
        right = sum(
            (net(x.contiguous(memory_format=layout)).argmax(1) == y).sum()
            for x, y in zip(images.split(500), labels.split(500), strict=True)
        )
    distributed.all_reduce(right)
    return right.item() / len(split[1])


def main() -> None:
    """Load the data, fork the ranks, and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--ready", help="a file to write when training begins")
    parser.add_argument("--layout", choices=LAYOUTS, default="contiguous")
    for name, default in {"ranks": 2, "epochs": 10, "batch-size": 128, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"learning-rate": 0.03, "warmup-epochs": 2.0}.items():  # distcnn's defaults
        parser.add_argument(f"--{name}", type=float, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a process with more threads cannot fork
    splits = data(options.data)
    with tempfile.TemporaryDirectory() as folder:
        arguments = options, f"{folder}/store", *splits
        torch.multiprocessing.start_processes(train, arguments, options.ranks, start_method="fork")


if __name__ == "__main__":
    main()
