"""Load the data that a user names for a trained net, in any layout: other data than those of its training, mostly."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from distcnn.config.settings import Config
from distcnn.config.types import AUTO, STREAM
from distcnn.data.classes import numbered
from distcnn.data.dataset import Dataset, Fractions, load_described
from distcnn.data.describe import describe
from distcnn.data.description import Description
from distcnn.data.expected import Expected
from distcnn.data.images import load_images
from distcnn.data.splits import Split
from distcnn.data.stream.source import can_be_streamed
from distcnn.data.wanted import Wanted, words_of
from distcnn.errors import DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.run.state import State


def expected_by(config: Config, state: State, named: Wanted | None = None) -> Expected:
    """Return what the net in a state expects of images.

    named: how the user names the arrays of the data that are used now.
    """
    wanted, shape = Wanted.of(config), tuple(state.input_shape)
    return Expected(wanted, shape, tuple(state.classes), named or Wanted())


def load_other(comm: Comm, config: Config, state: State, name: str, named: Wanted) -> Dataset:
    """Return the dataset in files that the user names, which may be those of the training. Collective.

    config: the settings of the state, with these files.
    name: the split that is needed: a file of test images needs no others.
    named: how the user names the arrays.

    Images that belong to no split by their names are those of the test split, unless the net was trained on them.
    """
    expected = expected_by(config, state, named)
    data = words_of(config.data) or None
    wanted, found = on_root(comm, expected.way, data, lambda found: _holds(found, name))
    if name == "test" and "test" in found.splits and "train" not in found.splits:
        return _alone(comm, data, expected)
    cuts = config.validation_split or config.test_split
    are_new = name == "test" and "test" not in found.splits and expected.is_bare(found)
    mode = config.data_mode if cuts or are_new else AUTO  # on which the fingerprint depends; else any will do
    if mode == STREAM and not on_root(comm, can_be_streamed, found.splits["train"].images):
        mode = AUTO
    look = partial(describe, found.files, wanted, like=expected.shape, names=expected.classes)
    dataset = load_described(look, comm, Fractions(), mode)
    if dataset.fingerprint == state.data_fingerprint:
        fractions = Fractions(config.validation_split, config.test_split, config.seed)
        return load_described(look, comm, fractions, mode) if cuts else dataset
    return replace(dataset, test=dataset.train) if are_new else dataset


def _holds(found: Description, name: str) -> bool:
    """Return whether a description has what a split needs: training images, or test images alone."""
    return "train" in found.splits or (name == "test" and "test" in found.splits)


def _alone(comm: Comm, data: tuple[str, ...] | None, expected: Expected) -> Dataset:
    """Return a dataset whose only images are test images. Collective."""
    found = load_images(data, comm, "test", expected)

    def labeled() -> Dataset:
        if found.labels is None:
            raise DataError(f"{found.name} has no labels for its test images, which can only be predicted")
        test = Split(found.images, found.labels)  # stands for the training images, which nobody needs
        classes = found.classes or numbered([found.labels])
        task = expected.wanted.task
        return Dataset(found.name, "", classes, train=test, test=test, pixels=found.scale, task=task)

    return on_all(comm, labeled)
