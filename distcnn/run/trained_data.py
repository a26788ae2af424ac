"""The data of a run: where it lay when the run was trained, and what to do if it has moved since."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distcnn.config.settings import Config
from distcnn.data.references import IN_MEMORY, SAVE_THEM
from distcnn.data.wanted import words_of
from distcnn.errors import DataError


def with_data(config: Config, data: str | Sequence[str] | None, where: str | Path) -> Config:
    """Return a run's settings with the data to use: the data that the user names, else the run's own.

    data: the files that the user names, None if the user names none.
    where: the checkpoint or file that holds the settings, for messages.

    Raises DataError if the run's own data is to be used and has moved, or was never in a file.
    """
    if data:
        return replace(config, data=data if isinstance(data, str) else tuple(data))
    if IN_MEMORY in words_of(config.data):
        raise DataError(f"{where} was trained on {IN_MEMORY}: {SAVE_THEM}")
    gone = next((path for path in words_of(config.data) if not os.path.exists(path)), None)
    if gone:
        raise DataError(
            f"{gone} does not exist, but {where} was trained on it: if it has moved, name its new place (--data)"
        )
    return config
