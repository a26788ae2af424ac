"""metrics.jsonl: one JSON object a line, one line an epoch; a run that goes on from an earlier step cuts it back."""

import errno
import json
import math
import os
from pathlib import Path
from typing import BinaryIO

from distcnn.errors import OutputError
from distcnn.system.atomic_files import write_whole


class Metrics:
    """The records in a run's metrics.jsonl."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.unwritten = b""  # lines that could not be written so far

    def append(self, record: dict) -> None:
        """Add a record and flush it to disk; NaN and infinity, which JSON lacks, become null.

        Raises OutputError when the file cannot be written; the record is then written with the next one.
        """
        line = json.dumps({key: _plain(value) for key, value in record.items()}, allow_nan=False)
        self.unwritten += line.encode() + b"\n"
        try:
            with open(self.path, "ab", buffering=0) as file:
                _append_all(file, self.unwritten)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}; free the disk") from None
        self.unwritten = b""

    def records(self) -> list[dict]:
        """Return the records in order, without lines that are none, as a killed run may leave."""
        return [record for _, record in self._lines()]

    def truncate_after(self, step: int) -> None:
        """Remove records of later steps, and lines that are no records; the file is replaced as a whole."""
        remaining = b"".join(line for line, record in self._lines() if record["step"] <= step)
        if self.path.exists() and remaining != self.path.read_bytes():
            write_whole(self.path, remaining)

    def _lines(self) -> list[tuple[bytes, dict]]:
        """Return (line, record) of every complete line that holds a record."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read: {error.strerror}; mend or remove it") from None
        found = [(line, _record(line)) for line in lines if line.endswith(b"\n")]
        return [(line, record) for line, record in found if record is not None]


def _append_all(file: BinaryIO, content: bytes) -> None:
    """Append to an unbuffered file and flush it to disk; if not all can be written, write nothing, raise OSError."""
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
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _record(line: bytes) -> dict | None:
    """Return the object with a step that a line holds, or None."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
