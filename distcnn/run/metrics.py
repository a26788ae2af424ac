"""metrics.jsonl: one JSON object a line, as epochs end; cut back when a run goes on from an earlier step."""

import errno
import json
import math
import os
from pathlib import Path

from distcnn.errors import OutputError
from distcnn.system.atomic_files import write_whole


class Metrics:
    """The records in a run's metrics.jsonl."""

    def __init__(self, path):
        self.path = Path(path)
        self.unwritten = b""

    def append(self, record):
        """Add a record and flush it to disk; numbers that JSON lacks become null.

        Raises OutputError when that fails; the record is then written with the next one.
        """
        line = json.dumps({key: _plain(value) for key, value in record.items()}, allow_nan=False)
        self.unwritten += line.encode() + b"\n"
        try:
            with open(self.path, "ab", buffering=0) as file:
                size = file.tell()
                try:
                    written = file.write(self.unwritten)
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(size)
                    raise
                if written != len(self.unwritten):
                    file.truncate(size)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}; free the disk") from None
        self.unwritten = b""

    def records(self):
        """Return the records in order; lines that are none, as a killed run leaves them, are passed over."""
        return [record for _, record in self._lines()]

    def truncate_after(self, step):
        """Remove records of later steps, and lines that are no records; the file is replaced as a whole."""
        kept = b"".join(line for line, record in self._lines() if record["step"] <= step)
        if self.path.exists() and kept != self.path.read_bytes():
            write_whole(self.path, kept)

    def _lines(self):
        """Return (line, record) of every whole line that holds a record."""
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read: {error.strerror}; mend or remove it") from None
        found = [(line, _record(line)) for line in lines if line.endswith(b"\n")]
        return [(line, record) for line, record in found if record is not None]


def _plain(value):
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _record(line):
    """Return the object with a step that a line holds, or None."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
