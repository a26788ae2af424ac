"""Training steps per second on one core, ours beside PyTorch's, as a ratio measured in one run.

    python benchmarks/step.py [--batch-size 64] [--rounds 15]

Each round times both in turn, the best of three; printed are medians over the rounds and the quartiles of their
ratios. PyTorch runs eagerly with one thread, in the faster of its two memory layouts, on a batch that is ready in
memory; ours includes gathering the batch from uint8 images.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import time

import numpy as np

from distcnn import models
from distcnn.exact import HEAD
from distcnn.lanes import LANES
from distcnn.optim import Momentum
from distcnn.plan import Block

CLASSES, SHAPE = 10, (1, 28, 28)


def our_step(batch_size):
    """Return a function that does one training step of LeNet-5."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4096, *SHAPE), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, len(images))
    order = rng.permutation(len(images))
    net = models.build("lenet5", SHAPE, CLASSES, seed=0)
    net.scale[:], net.shift[:] = 1 / 128, -1
    optimiser = Momentum(net.weights, momentum=0.9, weight_decay=0.0, trained=net.trained)
    starts = range(0, batch_size, LANES)

    def step():
        net.start(len(starts))
        for start in starts:
            net.train_block(Block.of(images, labels, order[start : min(start + LANES, batch_size)]))
        optimiser.update(net.sums[HEAD:], batch_size, 0.01)

    return step


def their_step(batch_size, memory_format):
    """Return a function that does the same with PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES),
    )  # fmt: skip
    net = net.to(memory_format=memory_format)
    images = torch.randn(batch_size, *SHAPE).contiguous(memory_format=memory_format)
    labels = torch.randint(0, CLASSES, (batch_size,))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    loss = nn.CrossEntropyLoss()

    def step():
        optimiser.zero_grad()
        loss(net(images), labels).backward()
        optimiser.step()

    return step


def seconds(step, repeats=3):
    """Return the best time of a step, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    import torch

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ours = our_step(options.batch_size)
    theirs = [their_step(options.batch_size, f) for f in (torch.contiguous_format, torch.channels_last)]
    for step in (ours, *theirs):
        step()
    rounds = [(seconds(ours), min(map(seconds, theirs))) for _ in range(options.rounds)]
    our_time, their_time = np.median(rounds, axis=0)
    ratios = np.percentile([theirs / ours for ours, theirs in rounds], [50, 25, 75])
    print(f"LeNet-5, batch {options.batch_size}, one core, median of {options.rounds} rounds")
    for name, time_ in (("distcnn", our_time), (f"PyTorch {torch.__version__}", their_time)):
        print(f"{name:20} {options.batch_size / time_:10,.0f} samples/s {time_ * 1e3:8.3f} ms a step")
    print("ratio                {:10.2f} [quartiles {:.2f} {:.2f}]".format(*ratios))


if __name__ == "__main__":
    main()
