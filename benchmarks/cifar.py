"""ResNet-20 on CIFAR-10, compared with PyTorch: the same recipe on the same file, and both accuracies.

    python -m distcnn.data import cifar-10-binary.tar.gz cifar10.h5
    python benchmarks/cifar.py --data cifar10.h5 [--images 50000 --epochs 30] [--norm-group 8] [--seeds 0 1 2]
        [--sides ours]

Both train by SGD with momentum, a linear rise of the learning rate and half a cosine, batches of 128, weight decay on
all parameters, `crop=4,flip`, initial weights after He et al. 2015, and images normalized per channel; each in one
process with one thread. Two things differ: the random numbers; and the statistics of batch norm, which in training are
those of a block of 16 samples with ours, of the whole batch of 128 with PyTorch. With --norm-group 8 ours are those of
eight blocks, the same 128 samples, and only the random numbers differ. Results are saved in results/MACHINE/cifar.json,
or cifar-norm-group-8.json, with those of other seeds and of the other side by the same recipe.
"""

import argparse
import json
import time
from dataclasses import replace
from statistics import mean, stdev

from rounds import RESULTS, machine, version  # isort: skip (sets one thread, before NumPy and PyTorch are imported)

import numpy as np
import peers

from distcnn.config.settings import Config
from distcnn.data.dataset import Split, load
from distcnn.parallel.serial import SerialComm
from distcnn.training.schedule import learning_rate
from distcnn.training.trainer import Trainer

BORDER = 4  # pixels around an image, of which crops are taken


def data(path, images):
    """Return the dataset with so many of its training images, taken at equal distances, as files may be in order."""
    dataset = load(path, SerialComm())
    total = len(dataset.train.labels)
    chosen = np.arange(min(images, total)) * total // min(images, total)
    return replace(dataset, train=Split(dataset.train.images[chosen], dataset.train.labels[chosen]))


def ours(trainer):
    """Train; return the accuracy on the test images."""
    trainer.compile()
    for blocks in trainer.remaining():
        trainer.step(blocks)
        if trainer.epoch_done:
            trainer.next_epoch()
    return trainer.evaluations()["test"]["accuracy"]


def pytorch(trainer):
    """Do the same with PyTorch; of our trainer only the settings and the data are used."""
    import peer_resnet

    config, length = trainer.config, trainer.batches.length
    settings = trainer.dataset, trainer.replica.mean, trainer.replica.std, config
    return peer_resnet.train(*settings, lambda step: learning_rate(config, step, length), BORDER)


SIDES = {"ours": ours, "PyTorch": pytorch}


def save(recipe, seed, side, accuracy, seconds):
    """Add a result to the file of those by the same recipe; return its rows, one a seed."""
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


def summary(rows):
    """Return the accuracies of the seeds that both sides have trained with as text."""
    pairs = [[row[side]["accuracy"] for side in SIDES] for row in rows if all(side in row for side in SIDES)]
    gaps = [100 * (first - second) for first, second in pairs]
    if not pairs:
        return "no seed has been trained with by both yet"
    means = " and ".join(f"{mean(each):.2%}" for each in zip(*pairs, strict=True))
    spread = f", standard deviation {stdev(gaps):.2f}" if len(gaps) > 1 else ""
    return f"seeds {len(gaps)}: means {means}, difference {mean(gaps):+.2f} points{spread}"


def main():
    """Train with each seed, both sides or one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="CIFAR-10, as `distcnn.data import` makes it")
    for name, default in {"images": 20_000, "epochs": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"[{default}]")
    parser.add_argument("--learning-rate", type=float, default=0.1, help="[0.1]")
    parser.add_argument(
        "--norm-group",
        type=int,
        default=Config.norm_group,
        metavar="BLOCKS",
        help="as of distcnn.train: 8 for statistics over a batch, as PyTorch's [%(default)s]",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="[0]")
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=[*SIDES], help="[both]")
    options = parser.parse_args()
    if "PyTorch" in options.sides and (why := peers.missing("peer_resnet")):
        parser.error(f"PyTorch is {why}: it belongs to the extra `bench`")
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
