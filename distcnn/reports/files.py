"""The files of a report: report.json, and pictures that are drawn from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.reports import calibration_picture, confusion_picture, mistakes_picture
from distcnn.reports.figures import labels_of
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
        "mistakes.png": lambda: _mistakes(record, images, title),
    }
    for name, made in pictures.items():
        write_whole(folder / name, made())


def _mistakes(record: Record, images: np.ndarray, title: str) -> bytes:
    """Return the bytes of a picture of the worst mistakes: what is predicted, how probable it is, and what is right."""
    names, fonts = labels_of(record["classes"])
    rows = record["mistakes"]
    above = (f"{names[row['predicted']]}  {row['probability']:.0%}\nis {names[row['label']]}" for row in rows)
    texts = [(text, f"no. {row['sample']}") for text, row in zip(above, rows, strict=True)]
    found = f"the {len(rows)} worst mistakes" if rows else "no mistakes"
    return mistakes_picture.draw(images, texts, fonts, f"{found} on {title}")
