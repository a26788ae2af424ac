"""Compare the accuracy of ResNet-20 on CIFAR-10 with PyTorch's, by the same recipe on the same file.

    python -m distcnn.data import cifar-10-binary.tar.gz cifar10.h5
    python benchmarks/cifar.py --data cifar10.h5 [--images 50000 --epochs 30] [--norm-group 8] [--seeds 0 1 2]
        [--sides ours]

Both sides train by SGD with momentum, a linear warmup of the learning rate and half a cosine, batches of 128, weight
decay on all parameters, `crop=4,flip`, initial weights after He et al. 2015, and images normalized per channel; each in
one process with one thread. Two things differ: the random numbers, and the batch norm statistics in training, which
distcnn computes over a block of 16 samples and PyTorch over the batch of 128. With --norm-group 8, distcnn computes
them over eight blocks, the same 128 samples, and only the random numbers differ. Results are added to
results/MACHINE/cifar.json, or to cifar-norm-group-8.json.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from statistics import mean, stdev
from typing import TYPE_CHECKING

from rounds import RESULTS, machine, version  # isort: skip (sets one thread, before NumPy and PyTorch are imported)

import numpy as np
import peers

from distcnn.config.settings import Config
from distcnn.data.dataset import Split, load
from distcnn.parallel.serial import SerialComm
from distcnn.training.schedule import learning_rate
from distcnn.training.trainer import Trainer

if TYPE_CHECKING:
    from distcnn.data.dataset import Dataset

BORDER = 4  # zeros around an image, from which crops are taken


def data(path: str, images: int) -> Dataset:
    """Return a dataset with only `images` training images, at equal distances, as files may be sorted by class."""
    dataset = load(path, SerialComm())
    total = len(dataset.train.labels)
    chosen = np.arange(min(images, total)) * total // min(images, total)
    return replace(dataset, train=Split(dataset.train.images[chosen], dataset.train.labels[chosen]))


def ours(trainer: Trainer) -> float:
    """Train with distcnn; return the accuracy on the test images."""
    trainer.compile()
    for blocks in trainer.remaining():
        trainer.step(blocks)
        if trainer.epoch_done:
            trainer.next_epoch()
    return trainer.evaluations()["test"]["accuracy"]


def pytorch(trainer: Trainer) -> float:
    """Train with PyTorch, with the settings and the data of the trainer; return the accuracy on the test images."""
    import peer_resnet

    config, length = trainer.config, trainer.batches.length
    settings = trainer.dataset, trainer.replica.mean, trainer.replica.std, config
    return peer_resnet.train(*settings, lambda step: learning_rate(config, step, length), BORDER)


SIDES = {"ours": ours, "PyTorch": pytorch}


def save(recipe: dict, seed: int, side: str, accuracy: float, seconds: float) -> list[dict]:
    """Add a result to the file of results; return the rows of the file, one per seed.

    Rows of another recipe are removed from the file.

    recipe: the settings that both sides share.
    seed: the seed.
    side: "ours" or "PyTorch".
    accuracy: the accuracy on the test images.
    seconds: the duration of training.
    """
    here = machine()
    group = recipe.get("norm_group")
    path = RESULTS / here["name"] / ("cifar.json" if group is None else f"cifar-norm-group-{group}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    record = json.loads(path.read_text()) if path.exists() else {}
    rows = {row["seed"]: row for row in record["rows"]} if record.get("recipe") == recipe else {}
    rows.setdefault(seed, {"seed": seed})[side] = {"accuracy": accuracy, "seconds": round(seconds)}
    rows = [rows[each] for each in sorted(rows)]
    record = {"benchmark": "cifar", "machine": here, **version(), "recipe": recipe, "rows": rows}
    path.write_text(json.dumps(record, indent=1) + "\n")
    return rows


def summary(rows: list[dict]) -> str:
    """Return the mean accuracies, as text, over the seeds for which there are results of both sides."""
    pairs = [[row[side]["accuracy"] for side in SIDES] for row in rows if all(side in row for side in SIDES)]
    gaps = [100 * (first - second) for first, second in pairs]
    if not pairs:
        return "no seed has results of both sides yet"
    means = " and ".join(f"{mean(each):.2%}" for each in zip(*pairs, strict=True))
    spread = f", standard deviation {stdev(gaps):.2f}" if len(gaps) > 1 else ""
    return f"seeds {len(gaps)}: means {means}, difference {mean(gaps):+.2f} points{spread}"


def main() -> None:
    """Train with each seed, by one side or both, and print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="CIFAR-10, as `distcnn.data import` makes it")
    for name, default in {"images": 20_000, "epochs": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"[{default}]")
    parser.add_argument("--learning-rate", type=float, default=0.1, help="[0.1]")
    default = Config.norm_group
    norm_group = f"the option of distcnn.train; 8 for statistics over a batch, as in PyTorch [{default}]"
    parser.add_argument("--norm-group", type=int, default=default, metavar="BLOCKS", help=norm_group)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="[0]")
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=[*SIDES], help="[both]")
    options = parser.parse_args()
    if "PyTorch" in options.sides and (why := peers.missing("peer_resnet")):
        parser.error(f"PyTorch is {why}: install the extra `bench`")
    dataset = data(options.data, options.images)
    config = Config(
        model="resnet20",
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        warmup_epochs=min(1.0, options.epochs / 3),
        weight_decay=1e-4,
        augment=f"crop={BORDER},flip",
        norm_group=options.norm_group,
        threads=1,
    )
    recipe = {name: vars(options)[name] for name in ("images", "epochs", "learning_rate")}
    recipe |= {"norm_group": options.norm_group} if options.norm_group != Config.norm_group else {}
    for seed in options.seeds:
        for side in options.sides:
            trainer, begin = Trainer(replace(config, seed=seed), dataset, SerialComm()), time.monotonic()
            accuracy = SIDES[side](trainer)
            seconds = time.monotonic() - begin
            rows = save(recipe, seed, side, accuracy, seconds)
            print(f"seed {seed}  {side} {accuracy:.2%} in {seconds:.0f} s", flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main()
