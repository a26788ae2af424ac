"""metrics.jsonl: a JSON object on one line for each epoch; a run that resumes from an earlier step truncates it."""

import errno
import json
import math
import os
from pathlib import Path
from typing import BinaryIO

from distcnn.errors import OutputError
from distcnn.system.atomic_files import NO_ROOM, write_whole
from distcnn.system.regular_files import open_regular, open_to_append

SPLITS = ("train", "validation", "test")

# What a record must hold to be one, and what is a number where it is there:
NUMBERS = ("step", "epoch", *(f"{split}_{name}" for split in SPLITS for name in ("loss", "accuracy")))


class Metrics:
    """The records in a run's metrics.jsonl."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.unwritten = b""  # lines that could not be written yet

    def append(self, record: dict) -> None:
        """Append a record and flush it to disk; NaN and infinity, which JSON lacks, become null.

        Raises OutputError if the file cannot be written; the next call then writes this record, too.
        """
        line = json.dumps({key: _plain(value) for key, value in record.items()}, allow_nan=False)
        self.unwritten += line.encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Write the records that could not be written yet; raise OutputError if they still cannot."""
        if not self.unwritten:
            return
        try:
            with open_to_append(self.path) as file:
                _append_all(file, self.unwritten)
        except OSError as error:
            remedy = "free some disk space" if error.errno in NO_ROOM else "repair or remove it"
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}; {remedy}") from None
        self.unwritten = b""

    def records(self) -> list[dict]:
        """Return the records in order; lines that are no records, as a killed run may leave them, are skipped."""
        return [record for _, record in self._lines()]

    def truncate_after(self, step: int) -> None:
        """Remove the records of later steps, and lines that are no records; replace the file atomically."""
        remaining = b"".join(line for line, record in self._lines() if record["step"] <= step)
        if self.path.exists() and remaining != self.path.read_bytes():
            write_whole(self.path, remaining)

    def _lines(self) -> list[tuple[bytes, dict]]:
        """Return (line, record) of every complete line that holds a record."""
        try:
            with open_regular(self.path) as file:
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read: {error.strerror}; repair or remove it") from None
        found = [(line, _record(line)) for line in lines if line.endswith(b"\n")]
        return [(line, record) for line, record in found if record is not None]


class MetricsInMemory(Metrics):
    """The records of a run that writes no files."""

    def __init__(self) -> None:
        super().__init__(os.devnull)
        self._kept: list[dict] = []

    def append(self, record: dict) -> None:
        """Append a record, with None for NaN and infinity, in place of those of this step and later ones."""
        self.truncate_after(record["step"] - 1)
        self._kept.append({key: _plain(value) for key, value in record.items()})

    def records(self) -> list[dict]:
        """Return the records in order."""
        return [dict(record) for record in self._kept]

    def truncate_after(self, step: int) -> None:
        """Remove the records of later steps."""
        self._kept = [record for record in self._kept if record["step"] <= step]


def _append_all(file: BinaryIO, content: bytes) -> None:
    """Append to an unbuffered file and flush it to disk; if not all can be written, undo it and raise OSError."""
    size = file.tell()
    try:
        written = file.write(content)
        os.fsync(file.fileno())
        if written != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        file.truncate(size)
        raise


def _plain(value: object) -> object:
    """Return None for NaN and infinity, and any other value itself."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _record(line: bytes) -> dict | None:
    """Return the record in a line, or None if the line is no JSON object with what a record must hold."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and all(_is_valid(record, key) for key in NUMBERS) else None


def _is_valid(record: dict, key: str) -> bool:
    """Return whether a record holds such a number as this key wants; what training did not measure may be missing."""
    value = record.get(key)
    if key in ("step", "epoch"):
        return type(value) is int and 0 <= value < 2**63
    return value is None or type(value) in (int, float)
