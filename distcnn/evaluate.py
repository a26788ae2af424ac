"""Evaluate a checkpoint on a dataset: `python -m distcnn.evaluate CHECKPOINT --data FILE.h5 [--json]`."""

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.config.types import MULTILABEL
from distcnn.data.wanted import Wanted
from distcnn.models.networks import code_sources
from distcnn.parallel.collective import on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.world import run as run_command
from distcnn.reports.files import draw, names_of, require_free, write
from distcnn.reports.kinds import KINDS
from distcnn.reports.report import Report
from distcnn.system.counts import counted, plural
from distcnn.system.terminal import columns
from distcnn.system.terminal_text import say, warn
from distcnn.training.load import SPLITS, find, load_pool, load_split, parser
from distcnn.training.report import report_on

MOST_NAMED = 10  # classes or labels that a warning names
FRACTIONS = "accuracy", "f1", "precision"  # the last words of metrics from 0 to 1
STDOUT = 1
WIDTH = 100  # columns of the table where no terminal shows it


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    made = parser("evaluate", "Measure how right a checkpoint is on a dataset, as a whole and in detail.")
    text = "the split to evaluate [test]"
    made.add_argument("--split", choices=SPLITS, default="test", help=text)
    text = "write the report to this folder, as JSON and pictures"
    made.add_argument("--report", metavar="FOLDER", help=text)
    made.add_argument("--force", action="store_true", help="replace the files of a report in FOLDER")
    return made.parse_args(argv)


def warnings_of(record: dict[str, Any]) -> Iterator[str]:
    """Yield a warning if classes or labels have no image in a split, or images but no right answer.

    The mean over all images may not show either.

    record: the report on the split.
    """
    if "support" not in record:  # of a net that predicts numbers
        return
    images, recall = np.array(record["support"]), record["recall"]
    split, rows = record["split"], record["task"] == MULTILABEL
    missing, wrong = ([k for k, share in enumerate(recall) if share == value] for value in (None, 0))
    if missing:
        named = _named(missing, record, "label" if rows else "class")
        yield f"no {split} image {f'has {named}' if rows else f'is of {named}, which the accuracy leaves out'}"
    if wrong:
        named = _named(wrong, record, "label" if rows else "class")
        found = f"no {split} image of {named} is {'found' if rows else 'classified correctly'}"
        yield f"{found}, of {counted(int(images[wrong].sum()), 'image')}"


def _named(numbers: Sequence[int], record: dict[str, Any], kind: str) -> str:
    """Return the number of some classes or labels and the names of the first of them; kind: the noun for one."""
    names = ", ".join(repr(record["classes"][number]) for number in numbers[:MOST_NAMED])
    return f"{plural(len(numbers), kind)} {names}" + (", ..." if len(numbers) > MOST_NAMED else "")


def shown(name: str, value: float | None) -> str:
    """Return a metric as it is printed, fractions in percent; a dash if it is not defined."""
    if value is None:
        return "-"
    return f"{value:.2%}" if name.endswith(FRACTIONS) else f"{value:.4g}"


def summary(measured: Mapping[str, float | None]) -> str:
    """Return metrics, with the loss first, as one line."""
    others = [name for name in measured if name != "loss"]
    shown_others = (f"  {name.replace('_', ' ')} {shown(name, measured[name])}" for name in others)
    return f"loss {measured['loss']:.4f}{''.join(shown_others)}"


def publish(report: Report, options: argparse.Namespace) -> None:
    """Write a report to the folder that the options name, if any, and print it."""
    record, folder = report.record, options.report
    for line in warnings_of(record):
        warn(line)
    if folder:
        write(Path(folder), record)
        draw(Path(folder), record, report.images)
    if options.json:
        print(json.dumps(record))
        return
    images = counted(record["samples"], f"{record['split']} image")
    say(f"{record['checkpoint']}, step {record['step']}, on {images} of {record['data']}")
    print(summary(report.measured))
    written = [f"wrote {', '.join(names_of(record))} to {folder}"] if folder else []
    for line in [*KINDS[record["task"]].lines(record, columns(STDOUT) or WIDTH), *written]:
        say(line)
    print(f"weights_sha256 {record['weights_sha256']}")


def main(comm: Comm) -> None:
    """Evaluate on all ranks together; rank 0 prints the result."""
    options = on_root(comm, parse, sys.argv[1:])
    if options.report:
        on_root(comm, require_free, Path(options.report), options.force)
    path, state = on_root(comm, find, options.checkpoint, options.best)
    dataset, split = load_split(comm, state, path, options.split, options.data, Wanted.of(options))
    pool = load_pool(comm, state, path, split.images, options.threads, code_sources(None, options.layers))
    about = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": dataset.name}
    report = report_on(pool, split, state.classes, about | {"split": options.split}, comm)
    on_root(comm, publish, report, options)


if __name__ == "__main__":
    run_command(main)
