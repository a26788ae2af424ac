"""The folders of runs that the user has not named: runs/MODEL-DATA, runs/MODEL-DATA-2, runs/MODEL-DATA-3, ..."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from distcnn.config import model_word
from distcnn.config.settings import Config
from distcnn.data.settings import first_file

TRACES = ("config.toml", "metrics.jsonl", "checkpoints")  # a folder that has any of these holds a run


def holds_run(folder: str | Path) -> bool:
    """Return whether a folder holds a run."""
    return any(os.path.lexists(Path(folder, trace)) for trace in TRACES)


def latest_folder(config: Config) -> Path | None:
    """Return the folder of the latest run with this model and data, or None."""
    runs = [(number, path) for number, path in _numbered_folders(config) if holds_run(path)]
    return max(runs)[1] if runs else None


def free_folders(config: Config) -> Iterator[Path]:
    """Yield the paths of folders, without end, after the last folder that exists for this model and data."""
    last = max((number for number, _ in _numbered_folders(config)), default=0)
    for number in count(last + 1):
        yield Path("runs", _name(config) + (f"-{number}" if number > 1 else ""))


def _name(config: Config) -> str:
    """Return the name of the first run's folder for this model and data."""
    return f"{model_word.parse(config.model).title}-{Path(first_file(config) or 'digits').stem}"


def _numbered_folders(config: Config) -> list[tuple[int, Path]]:
    """Return (number, folder) of the existing folders for this model and data: runs/NAME is 1, runs/NAME-2 is 2, ..."""
    pattern = re.compile(re.escape(_name(config)) + r"(?:-([1-9]\d{0,8}))?")
    found = [(pattern.fullmatch(path.name), path) for path in Path("runs").glob("*")]
    return [(int(match[1] or 1), path) for match, path in found if match]
