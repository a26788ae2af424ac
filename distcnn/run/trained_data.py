"""The data of a run: where it lay when the run was trained, and what to do if it has moved since."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from distcnn.config.settings import Config
from distcnn.errors import DataError


def with_data(config: Config, data: str | None, where: str | Path) -> Config:
    """Return a run's settings with the data to use: the data that the user names, else the run's own.

    data: the path that the user names, None if the user names none.
    where: the checkpoint or file that holds the settings, for messages.

    Raises DataError if the run's own data is to be used and has moved.
    """
    if data:
        return replace(config, data=data)
    if config.data and not os.path.exists(config.data):
        raise DataError(
            f"{config.data} does not exist, but {where} was trained on it: if it has moved, name its new place (--data)"
        )
    return config
