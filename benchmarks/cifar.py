"""ResNet-20 on CIFAR-10 beside PyTorch: the same recipe on the same file, and the accuracies that both reach.

    python -m distcnn.data import cifar-10-binary.tar.gz cifar10.h5
    python benchmarks/cifar.py --data cifar10.h5 [--images 50000 --epochs 30 --seeds 3]

Both train with momentum, a linear rise of the learning rate and half a cosine, batches of 128, weight decay on all
parameters, `crop=4,flip`, initial weights after He et al. 2015, and images normalised per channel; each in one process
with one thread. Two things differ: the random numbers; and the statistics of batch norm, which in training are those of
a block of 16 samples with ours, of the whole batch of 128 with PyTorch.
"""

import argparse
import os
import time
from dataclasses import replace
from statistics import mean, stdev

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and PyTorch are imported

import numpy as np
import peers

from distcnn.config import Config
from distcnn.data.dataset import Part, load
from distcnn.parallel.alone import Alone
from distcnn.schedule import learning_rate
from distcnn.training import Training

BORDER = 4  # pixels around an image, of which crops are taken


def data(path, images):
    """Return the dataset with so many of its training images, taken at equal distances, as files may be in order."""
    dataset = load(path, Alone())
    total = len(dataset.train.labels)
    chosen = np.arange(min(images, total)) * total // min(images, total)
    return replace(dataset, train=Part(dataset.train.images[chosen], dataset.train.labels[chosen]))


def ours(dataset, config):
    """Train; return the training and its accuracy on the test images."""
    training = Training(config, dataset, Alone())
    training.compile()
    for blocks in training.remaining():
        training.step(blocks)
        if training.epoch_done:
            training.next_epoch()
    return training, training.evaluations()["test"][1]


def both(dataset, config):
    """Return the accuracies that ours and PyTorch reach, and print them."""
    import peer_resnet

    begin = time.monotonic()
    training, first = ours(dataset, config)
    between, length = time.monotonic(), training.batches.length
    second = peer_resnet.train(
        dataset,
        *(training.mean, training.std, config),
        *(lambda step: learning_rate(config, step, length), BORDER),
    )
    seconds = between - begin, time.monotonic() - between
    print(
        f"seed {config.seed}  ours {first:.2%} in {seconds[0]:.0f} s  PyTorch {second:.2%} in {seconds[1]:.0f} s  "
        f"difference {100 * (first - second):+.2f} points",
        flush=True,
    )
    return first, second


def main():
    """Train both with each seed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="CIFAR-10, as `distcnn.data import` makes it")
    for name, default in {"images": 10_000, "epochs": 3, "seeds": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"[{default}]")
    parser.add_argument("--learning-rate", type=float, default=0.1, help="[0.1]")
    asked = parser.parse_args()
    if why := peers.missing("peer_resnet"):
        parser.error(f"PyTorch is {why}: it belongs to the extra `bench`")
    dataset = data(asked.data, asked.images)
    config = Config(
        model="resnet20",
        epochs=asked.epochs,
        learning_rate=asked.learning_rate,
        warmup_epochs=min(1.0, asked.epochs / 3),
        weight_decay=1e-4,
        augment=f"crop={BORDER},flip",
        threads=1,
    )
    pairs = [both(dataset, replace(config, seed=seed)) for seed in range(asked.seeds)]
    if len(pairs) > 1:
        gaps = [100 * (first - second) for first, second in pairs]
        means = " and ".join(f"{mean(each):.2%}" for each in zip(*pairs, strict=True))
        print(f"means {means}, difference {mean(gaps):+.2f} points, standard deviation {stdev(gaps):.2f}")


if __name__ == "__main__":
    main()
