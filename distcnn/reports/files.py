"""The files of a report: report.json, and pictures that are drawn from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.reports import calibration_picture, confusion_picture, mistakes_picture
from distcnn.system.atomic_files import remove_temporaries, write_whole

JSON = "report.json"
PICTURES = ("confusion.png", "calibration.png", "mistakes.png")
FILES = (JSON, *PICTURES)

Record = dict[str, Any]


def write(folder: Path, record: Record) -> None:
    """Write a report as JSON, atomically; raise OutputError or OSError if that fails.

    The folder is made if it does not exist; only this process may write reports there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_temporaries(folder, FILES)
    write_whole(folder / JSON, json.dumps(record, allow_nan=False).encode() + b"\n")


def redraw(folder: Path, images: np.ndarray) -> None:
    """Draw the pictures of the report that a folder holds; see `draw`."""
    draw(folder, json.loads((folder / JSON).read_bytes()), images)


def draw(folder: Path, record: Record, images: np.ndarray) -> None:
    """Draw the pictures of a report, each written atomically; raise OutputError if that fails.

    images: those of the worst mistakes, [n, c, h, w].
    """
    title = f"{record['samples']:,} {record['split']} images of {record['data']}"
    pictures: dict[str, Callable[[], bytes]] = {
        "confusion.png": lambda: confusion_picture.draw(record, f"{title}: {record['accuracy']:.2%} correct"),
        "calibration.png": lambda: calibration_picture.draw(record, title),
        "mistakes.png": lambda: mistakes_picture.draw(record, images, title),
    }
    for name, made in pictures.items():
        write_whole(folder / name, made())
