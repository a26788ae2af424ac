"""Evaluate a checkpoint on a dataset: `python -m distcnn.evaluate CHECKPOINT --data FILE.h5 [--json]`."""

import json
import sys

from distcnn.parallel.collective import on_root
from distcnn.parallel.world import run as run_command
from distcnn.training.evaluation import evaluate, means
from distcnn.training.load import PARTS, crew_of, find, parser, part_of


def parse(words):
    """Return the options of the command line."""
    ours = parser("evaluate", "Loss and accuracy of a checkpoint on a dataset.")
    ours.add_argument(
        "--split", choices=PARTS, default="test", help="test, or train or validation as in training [test]"
    )
    return ours.parse_args(words)


def main(comm):
    """Evaluate on all ranks together; rank 0 prints."""
    options = on_root(comm, parse, sys.argv[1:])
    path, state = on_root(comm, find, options.checkpoint)
    dataset, part = part_of(comm, state, path, options.split, options.data)
    pool = crew_of(comm, state, path, part.images, options.threads)
    loss, accuracy = means(evaluate(pool, part, comm))
    record = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": dataset.name}
    record |= {"part": options.split, "samples": len(part.labels), "loss": loss, "accuracy": accuracy}
    record["weights_sha256"] = pool.net.digest
    if comm.rank == 0 and options.json:
        print(json.dumps(record))
    elif comm.rank == 0:
        print(f"{path}, step {state.step}, on {len(part.labels):,} {options.split} images of {dataset.name}")
        print(f"loss {loss:.4f}  accuracy {accuracy:.2%}\nweights_sha256 {pool.net.digest}")


if __name__ == "__main__":
    run_command(main)
