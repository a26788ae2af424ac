"""The options that say which arrays of HDF5 files hold what, for the commands of `distcnn.data`."""

from __future__ import annotations

import argparse

from distcnn.config.parser import add_setting
from distcnn.config.tasks import TASKS
from distcnn.config.types import AUTO

SPLITS = {"": "training", "test_": "test", "validation_": "validation"}  # by the beginnings of settings
ARRAYS = {
    f"{begin}{kind}": f"the {split} {kind}"
    for begin, split in SPLITS.items()
    for kind in ("images", "labels")
}


def add_data_options(command: argparse.ArgumentParser) -> None:
    """Add the options to a command, and one that says what the labels are for."""
    add_array_options(command)
    task = "what the labels are for [auto: as their values show]"
    command.add_argument("--task", choices=(AUTO, *TASKS), default=AUTO, help=task)


def add_array_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say which arrays hold what."""
    for name, text in ARRAYS.items():
        add_setting(command, name, text)
    add_setting(command, "layout", "the axes of the images as they are stored, such as NHWC")
    add_setting(command, "map_labels", "make a class of each value of the labels")
