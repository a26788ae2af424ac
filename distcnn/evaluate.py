"""Evaluate a checkpoint on a dataset: `python -m distcnn.evaluate CHECKPOINT --data FILE.h5 [--json]`."""

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.models.networks import code_sources
from distcnn.parallel.collective import on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.world import run as run_command
from distcnn.reports.files import FILES, draw, write
from distcnn.reports.report import Report
from distcnn.reports.text import lines_of
from distcnn.system import atomic_files
from distcnn.system.counts import counted, plural
from distcnn.system.terminal import columns
from distcnn.system.terminal_text import say, warn
from distcnn.training.load import SPLITS, find, load_pool, load_split, parser
from distcnn.training.metrics import METRICS
from distcnn.training.report import report_on

MOST_NAMED = 10  # classes that a warning names
STDOUT = 1
WIDTH = 100  # columns of the table where no terminal shows it


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    made = parser("evaluate", "Measure loss and accuracy of a checkpoint on a dataset.")
    text = "the split to evaluate [test]"
    made.add_argument("--split", choices=SPLITS, default="test", help=text)
    text = "write the report to this folder, as JSON and pictures"
    made.add_argument("--report", metavar="FOLDER", help=text)
    made.add_argument("--force", action="store_true", help="replace the files of a report in FOLDER")
    return made.parse_args(argv)


def warn_of_classes(record: dict[str, Any]) -> None:
    """Warn if classes have no image in a split, or images but no right answer, which the accuracy may not show.

    record: the report on the split.
    """
    images, recall = np.array(record["support"]), record["recall"]
    classes, split = record["classes"], record["split"]
    missing, wrong = ([k for k, share in enumerate(recall) if share == value] for value in (None, 0))
    if missing:
        warn(f"no {split} image is of {_named(missing, classes)}, which the accuracy leaves out")
    if wrong:
        found = f"no {split} image of {_named(wrong, classes)} is classified correctly"
        warn(f"{found}, of {counted(int(images[wrong].sum()), 'image')}")


def _named(numbers: Sequence[int], classes: Sequence[str]) -> str:
    """Return the number of some classes and the names of the first of them."""
    names = ", ".join(repr(classes[number]) for number in numbers[:MOST_NAMED])
    return f"{plural(len(numbers), 'class')} {names}" + (", ..." if len(numbers) > MOST_NAMED else "")


def require_free(folder: Path, force: bool) -> None:
    """Raise OutputError unless a report may be written to a folder; force: whether its files may be replaced."""
    for name in FILES:
        atomic_files.require_free(folder / name, force)


def publish(report: Report, options: argparse.Namespace) -> None:
    """Write a report to the folder that the options name, if any, and print it."""
    record, folder = report.record, options.report
    warn_of_classes(record)
    if folder:
        write(Path(folder), record)
        draw(Path(folder), record, report.images)
    if options.json:
        print(json.dumps(record))
        return
    images = counted(record["samples"], f"{record['split']} image")
    say(f"{record['checkpoint']}, step {record['step']}, on {images} of {record['data']}")
    more = "".join(f"  {name} {record[name]:.4g}" for name in METRICS)
    print(f"loss {record['loss']:.4f}  accuracy {record['accuracy']:.2%}{more}")
    written = [f"wrote {', '.join(FILES)} to {folder}"] if folder else []
    for line in [*lines_of(record, columns(STDOUT) or WIDTH), *written]:
        say(line)
    print(f"weights_sha256 {record['weights_sha256']}")


def main(comm: Comm) -> None:
    """Evaluate on all ranks together; rank 0 prints the result."""
    options = on_root(comm, parse, sys.argv[1:])
    if options.report:
        on_root(comm, require_free, Path(options.report), options.force)
    path, state = on_root(comm, find, options.checkpoint)
    dataset, split = load_split(comm, state, path, options.split, options.data)
    pool = load_pool(comm, state, path, split.images, options.threads, code_sources(None, options.layers))
    about = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": dataset.name}
    report = report_on(pool, split, state.classes, about | {"split": options.split}, comm)
    on_root(comm, publish, report, options)


if __name__ == "__main__":
    run_command(main)
