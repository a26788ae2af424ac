"""Evaluate a checkpoint on a dataset: `python -m distcnn.evaluate CHECKPOINT --data FILE.h5 [--json]`."""

import sys

from distcnn.config.versions import answer_version

if __name__ == "__main__":
    answer_version(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
import json
from collections.abc import Sequence
from typing import Any

from distcnn.parallel.collective import on_root
from distcnn.parallel.world import run as run_command
from distcnn.training.evaluation import evaluate, means
from distcnn.training.load import PARTS, crew_of, find, parser, part_of


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    ours = parser("evaluate", "Loss and accuracy of a checkpoint on a dataset.")
    text = "test, or train or validation as in training [test]"
    ours.add_argument("--split", choices=PARTS, default="test", help=text)
    return ours.parse_args(argv)


def main(comm: Any) -> None:
    """Evaluate on all ranks together; rank 0 prints."""
    options = on_root(comm, parse, sys.argv[1:])
    path, state = on_root(comm, find, options.checkpoint)
    dataset, split = part_of(comm, state, path, options.split, options.data)
    pool = crew_of(comm, state, path, split.images, options.threads)
    loss, accuracy = means(evaluate(pool, split, comm))
    record = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": dataset.name}
    record |= {"part": options.split, "samples": len(split.labels), "loss": loss, "accuracy": accuracy}
    record["weights_sha256"] = pool.net.digest
    if comm.rank == 0 and options.json:
        print(json.dumps(record))
    elif comm.rank == 0:
        print(f"{path}, step {state.step}, on {len(split.labels):,} {options.split} images of {dataset.name}")
        print(f"loss {loss:.4f}  accuracy {accuracy:.2%}\nweights_sha256 {pool.net.digest}")


if __name__ == "__main__":
    run_command(main)
