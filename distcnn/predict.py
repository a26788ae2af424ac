"""Predict for images: `python -m distcnn.predict CHECKPOINT [SOURCE ...] [--out FILE.h5|FILE.csv] [--json]`."""

import sys

from distcnn.config.startup import begin

if __name__ == "__main__":
    begin(sys.argv[1:])  # before the imports below, which need NumPy, Numba and MPI

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distcnn.config.settings import Config
from distcnn.config.types import AUTO
from distcnn.data.expected import Expected
from distcnn.data.images import Images, load_images
from distcnn.data.wanted import Wanted, words_of
from distcnn.errors import ConfigError
from distcnn.models.networks import code_sources
from distcnn.parallel.collective import mark_collective, on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.world import run as run_command
from distcnn.run.predictions import Predictions, describe, require_free, write
from distcnn.run.row_predictions import PREDICTIONS
from distcnn.run.state import State
from distcnn.system.counts import counted
from distcnn.system.terminal_text import say, warn
from distcnn.training.load import (
    SPLITS,
    check_images,
    find,
    load_pool,
    load_split,
    parser,
    settings_of,
)
from distcnn.training.other_data import expected_by
from distcnn.training.output_names import are_numbers
from distcnn.training.prediction import predict
from distcnn.training.prediction_sources import load_sources, require_effect
from distcnn.training.scale_check import warn_of_scale


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    made = parser("predict", "Predict classes, labels or numbers of images with a checkpoint.")
    text = "image files, folders and archives of them, HDF5 files, or patterns in quotes [the data of the training]"
    made.add_argument("sources", metavar="SOURCE", nargs="*", help=text)
    text = "the split to predict [test, or /images of a file without splits]"
    made.add_argument("--split", choices=SPLITS, help=text)
    made.add_argument("--top", metavar="K", type=_top, default=1, help="show the K most probable classes [1]")
    made.add_argument("--out", metavar="FILE", help="write all predictions to a .h5 or .csv file")
    made.add_argument("--force", action="store_true", help="replace FILE if it exists")
    made.add_argument("--skip-damaged", action="store_true", help="leave out image files that cannot be read")
    options = made.parse_args(argv)
    if options.sources and options.data:
        raise ConfigError(f"--data {options.data} beside {options.sources[0]}: name all files without --data")
    return options


def _top(word: str) -> int:
    """Return a number of classes; raise ArgumentTypeError if the word is not a valid one."""
    if not (word.isascii() and word.isdigit() and len(word) < 7 and int(word)):
        raise argparse.ArgumentTypeError(f"{word[:50]!r} is not valid; wanted a whole number from 1")
    return int(word)


def images_of(comm: Comm, state: State, where: Path, options: argparse.Namespace) -> Images:
    """Return the images that the options name. Collective.

    state: of a trained net.
    where: the checkpoint that holds the state, for error messages.
    options: as `parse` returns them.

    Raises DataError, on all ranks, if the images do not fit the state.
    """
    named = Wanted.of(options)
    config = on_root(comm, settings_of, state, where, options.data or options.sources, named)
    expected = expected_by(config, state, named)
    if options.sources:
        found = load_sources(comm, state, where, options, expected)
        warn_of_scale(comm, found.name, found.images, state, where)
        return with_known_labels(comm, found, state)
    on_root(comm, require_effect, options, [])
    are_other = bool(options.data) or named.names_arrays  # which may need the other mode
    if name := on_root(comm, cut_split, config, options.split, expected if are_other else None):
        dataset, split = load_split(comm, state, where, name, options.data, named)
        rows = split.rows() if split.rows else None
        names = None if rows is None else tuple(f"train/{row}" for row in rows.tolist())
        return Images(split.images, split.labels, dataset.classes, dataset.name, name, dataset.scale, names)
    mode = AUTO if are_other else config.data_mode
    data = options.data or words_of(config.data) or None
    found = load_images(data, comm, options.split, expected, mode)
    on_all(comm, check_images, found.name, found.images, found.scale, found.classes, state, where)
    warn_of_scale(comm, found.name, found.images, state, where)
    return with_known_labels(comm, found, state)


def cut_split(config: Config, split: str | None, other: Expected | None) -> str:
    """Return the split to predict if it is what training has cut off its images, or left; "" if the files have it.

    config: the settings of the training, with the data to predict.
    split: what the user names; None: the test split, or all images of a file of other data that has none.
    other: what the net expects of data that the user names, which may be those of the training; None: it is those.
    """
    cuts = {"test": config.test_split, "train": config.test_split or config.validation_split}
    name = split or ("test" if other is None else "")
    if name == "validation" or not cuts.get(name):
        return name if name == "validation" else ""
    if other is None:
        return name
    _, found = other.way(words_of(config.data) or None, lambda found: "train" in found.splits)
    train = found.splits.get("train")
    has_it = name == "test" and "test" in found.splits
    return name if train and train.labels and not has_it else ""


def with_known_labels(comm: Comm, found: Images, state: State) -> Images:
    """Return images without their labels, and warn, if these are numbers, and the net's classes have names.

    Then nothing says which number is which class, so there is no accuracy. Rows of labels are in the order of outputs.
    """
    if found.labels is None or found.labels.ndim > 1 or found.classes or are_numbers(state.classes):
        return found
    if comm.rank == 0:
        named = "name them in the file's attribute classes"
        warn(f"the labels of {found.name} are numbers of classes without names, and not used: {named}")
    return replace(found, labels=None)


def report(predictions: Predictions, options: argparse.Namespace) -> None:
    """Write the predictions to the file that the options name, if any, and print a summary."""
    if options.out:
        write(options.out, predictions)
    if options.json:
        print(json.dumps(predictions.record | ({} if options.out else predictions.every)))
        return
    about = predictions.about
    where = f"{about['checkpoint']}, step {about['step']}"
    split = about["split"]  # "images" for the bare /images of a file
    what = "image" if split == "images" else f"{split} image"
    say(f"{where}, on {counted(len(predictions.predicted), what)} of {about['data']}")
    for line in [*describe(predictions), *([f"wrote {options.out}"] if options.out else [])]:
        say(line)


def main(comm: Comm) -> None:
    """Predict on all ranks together; rank 0 writes and prints."""
    options = on_root(comm, parse, sys.argv[1:])
    if options.out:
        on_root(comm, require_free, options.out, options.force)
    path, state = on_root(comm, find, options.checkpoint, options.best)
    found = images_of(comm, state, path, options)
    pool = load_pool(comm, state, path, found.images, options.threads, code_sources(None, options.layers))
    task = pool.net.task
    if options.top > 1 and task.has_rows:
        found_task = f"--top {options.top} does nothing, as {path} was trained for {task.name}"
        raise mark_collective(ConfigError(f"{found_task}: leave it out"))
    predicted, probabilities = predict(pool, found.images, comm)
    about = {"checkpoint": str(path), "epoch": state.epoch, "step": state.step, "data": found.name}
    about |= {"task": task.name, "split": found.split, "weights_sha256": pool.net.digest}
    predictions = PREDICTIONS[task.name](
        predicted, probabilities, found.labels, state.classes, about, found.names, options.top
    )
    on_root(comm, report, predictions, options)


if __name__ == "__main__":
    run_command(main)
