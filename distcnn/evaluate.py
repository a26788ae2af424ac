"""Evaluate a checkpoint on a dataset: `python -m distcnn.evaluate CHECKPOINT --data FILE.h5 [--json]`."""

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
import json
from collections.abc import Sequence

from distcnn.parallel.collective import on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.world import run as run_command
from distcnn.system.terminal_text import say
from distcnn.training.evaluation import evaluate
from distcnn.training.load import SPLITS, find, load_pool, load_split, parser
from distcnn.training.metrics import METRICS


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    made = parser("evaluate", "Measure loss and accuracy of a checkpoint on a dataset.")
    text = "the split to evaluate [test]"
    made.add_argument("--split", choices=SPLITS, default="test", help=text)
    return made.parse_args(argv)


def main(comm: Comm) -> None:
    """Evaluate on all ranks together; rank 0 prints the result."""
    options = on_root(comm, parse, sys.argv[1:])
    path, state = on_root(comm, find, options.checkpoint)
    dataset, split = load_split(comm, state, path, options.split, options.data)
    pool = load_pool(comm, state, path, split.images, options.threads)
    measured = evaluate(pool, split, comm)
    record = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": dataset.name}
    record |= {"split": options.split, "samples": len(split.labels), **measured}
    record["weights_sha256"] = pool.net.digest
    if comm.rank == 0 and options.json:
        print(json.dumps(record))
    elif comm.rank == 0:
        say(f"{path}, step {state.step}, on {len(split.labels):,} {options.split} images of {dataset.name}")
        more = "".join(f"  {name} {measured[name]:.4g}" for name in METRICS)
        print(f"loss {measured['loss']:.4f}  accuracy {measured['accuracy']:.2%}{more}")
        print(f"weights_sha256 {pool.net.digest}")


if __name__ == "__main__":
    run_command(main)
