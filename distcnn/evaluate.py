"""Evaluate a checkpoint on a dataset: `python -m distcnn.evaluate CHECKPOINT --data FILE.h5 [--json]`."""

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
import json
from collections.abc import Sequence

import numpy as np

from distcnn.data.wanted import Wanted
from distcnn.models.networks import code_sources
from distcnn.parallel.collective import on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.world import run as run_command
from distcnn.system.counts import counted, plural
from distcnn.system.terminal_text import say, warn
from distcnn.training.evaluation import evaluate
from distcnn.training.load import SPLITS, find, load_pool, load_split, parser
from distcnn.training.metrics import METRICS

MOST_NAMED = 10  # classes that a warning names


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    made = parser("evaluate", "Measure loss and accuracy of a checkpoint on a dataset.")
    text = "the split to evaluate [test]"
    made.add_argument("--split", choices=SPLITS, default="test", help=text)
    return made.parse_args(argv)


def warn_of_classes(labels: np.ndarray, right: np.ndarray, classes: Sequence[str], split: str) -> None:
    """Warn if classes have no image in a split, or images but no right answer, which the accuracy may not show.

    labels: of the images, int [n].
    right: how many images of each class are right, int [classes].
    classes: their names.
    split: its name.
    """
    images = np.bincount(labels, minlength=len(classes))
    missing, wrong = np.flatnonzero(images == 0), np.flatnonzero((images > 0) & (right == 0))
    if len(missing):
        warn(f"no {split} image is of {_named(missing, classes)}, which the accuracy leaves out")
    if len(wrong):
        found = f"no {split} image of {_named(wrong, classes)} is classified correctly"
        warn(f"{found}, of {counted(int(images[wrong].sum()), 'image')}")


def _named(numbers: np.ndarray, classes: Sequence[str]) -> str:
    """Return the number of some classes and the names of the first of them."""
    names = ", ".join(repr(classes[number]) for number in numbers[:MOST_NAMED])
    return f"{plural(len(numbers), 'class')} {names}" + (", ..." if len(numbers) > MOST_NAMED else "")


def main(comm: Comm) -> None:
    """Evaluate on all ranks together; rank 0 prints the result."""
    options = on_root(comm, parse, sys.argv[1:])
    path, state = on_root(comm, find, options.checkpoint)
    dataset, split = load_split(comm, state, path, options.split, options.data, Wanted.of(options))
    pool = load_pool(comm, state, path, split.images, options.threads, code_sources(None, options.layers))
    right = np.zeros(len(state.classes), np.int64)
    measured = evaluate(pool, split, comm, right=right)
    if comm.rank == 0:
        warn_of_classes(split.labels, right, state.classes, options.split)
    record = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": dataset.name}
    record |= {"split": options.split, "samples": len(split.labels), **measured}
    record["weights_sha256"] = pool.net.digest
    if comm.rank == 0 and options.json:
        print(json.dumps(record))
    elif comm.rank == 0:
        images = counted(len(split.labels), f"{options.split} image")
        say(f"{path}, step {state.step}, on {images} of {dataset.name}")
        more = "".join(f"  {name} {measured[name]:.4g}" for name in METRICS)
        print(f"loss {measured['loss']:.4f}  accuracy {measured['accuracy']:.2%}{more}")
        print(f"weights_sha256 {pool.net.digest}")


if __name__ == "__main__":
    run_command(main)
