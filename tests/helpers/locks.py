"""Locks as tests take them and as other jobs would write them."""

import os
from pathlib import Path

import pytest

from distcnn.errors import OutputError
from distcnn.run.lock_record import Record
from distcnn.run.run_lock import NAME, RunLock
from distcnn.system.processes import this_process

TOKEN, OTHER = "0123456789abcdef", "fedcba9876543210"
SINCE = "2026-01-02 03:04:05+00:00"


def never(seconds):
    pytest.fail("waits for a heartbeat")


def lock(token=TOKEN, pause=never, **keywords):
    return RunLock(token, [this_process()], pause=pause, **keywords)


def plant(record, folder="a"):
    """Write a lock as another job would; return its path."""
    path = Path(folder, NAME)
    path.write_bytes(record if isinstance(record, bytes) else record.to_bytes())
    return path


def record(*processes, token=OTHER, launcher=None):
    return Record(token, SINCE, launcher, processes)


def elsewhere(**changes):
    return this_process()._replace(**{"host": "node17", "boot": "another", "pid": 4711} | changes)


def complaint(one, folder="a"):
    """Return why a job is refused, which changes nothing in the folder."""
    before = contents(folder), os.stat(folder)
    with pytest.raises(OutputError) as caught:
        one.hold(folder)
    one.release()
    assert contents(folder) == before[0]
    assert os.stat(folder).st_mtime_ns == before[1].st_mtime_ns
    assert "\n" not in str(caught.value)
    return str(caught.value)


def contents(folder):
    return {
        path.name: (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in Path(folder).iterdir()
    }
