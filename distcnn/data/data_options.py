"""The options that say which arrays of HDF5 files hold what, for the commands of `distcnn.data`."""

from __future__ import annotations

import argparse

from distcnn.config.parser import add_setting

SPLITS = {"": "training", "test_": "test", "validation_": "validation"}  # by the beginnings of settings
ARRAYS = {
    f"{begin}{kind}": f"the {split} {kind}"
    for begin, split in SPLITS.items()
    for kind in ("images", "labels")
}


def add_data_options(command: argparse.ArgumentParser) -> None:
    """Add the options to a command."""
    for name, text in ARRAYS.items():
        add_setting(command, name, text)
    add_setting(command, "layout", "the axes of the images as they are stored, such as NHWC")
    add_setting(command, "map_labels", "make a class of each value of the labels")
