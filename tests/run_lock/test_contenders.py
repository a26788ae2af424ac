"""Of many jobs that find a dead lock at the same time one gets it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distcnn.errors import FolderInUse
from distcnn.run import lock_file
from distcnn.run.run_lock import NAME
from tests.helpers import jobs
from tests.helpers.locks import OTHER, elsewhere, lock, plant, record
from tests.programs import LOCK_CONTENDERS


@pytest.mark.parametrize("seed", range(3))
def test_of_many_jobs_that_find_a_dead_lock_one_gets_it(dead, seed):
    """Each dies with the lock, and anywhere on the way; the others take it over, one after the other."""
    plant(record(dead))
    environment = jobs.clean_environment({})
    started = [
        subprocess.Popen(
            [sys.executable, LOCK_CONTENDERS, "a", str(16 * seed + k)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(12)
    ]
    assert [each.stdout.readline() for each in started] == ["ready\n"] * len(started)
    Path("a/go").touch()
    said = [(each.communicate(timeout=jobs.LIMIT)[1], each.returncode) for each in started]
    os.unlink("a/go")
    assert said == [("", -signal.SIGKILL)] * len(started)
    had = Path("a/log").read_text().split()
    assert len(had) == len(set(had)) > 2
    with lock() as one:
        one.hold("a")
        assert sorted(os.listdir("a")) == [NAME, "log"]


def test_a_job_that_has_judged_long_ago_replaces_no_later_lock(dead, monkeypatch):
    """Of two jobs that have found the same dead record, one is slow: the other has got the lock meanwhile."""
    plant(record(dead))
    read = lock_file.read

    def slow(where):
        found = read(where)
        if where.name == NAME and found.token == OTHER:
            monkeypatch.setattr(lock_file, "read", read)
            other.hold("a")
        return found

    monkeypatch.setattr(lock_file, "read", slow)
    with lock("b" * 16) as other, pytest.raises(FolderInUse):
        lock().hold("a")
    assert os.listdir("a") == []


def test_a_job_that_has_died_while_it_took_over_is_replaced(dead):
    path = plant(record(dead))
    second = path.with_name(f"{NAME}.{OTHER}")
    second.write_bytes(record(dead, token="c" * 16).to_bytes())
    path.with_name(f".{NAME}.0a1b2c3d.tmp").write_bytes(b"")
    with lock() as one:
        one.hold("a")
        assert os.listdir("a") == [NAME]


def test_traces_tell_every_change():
    path = plant(record(elsewhere()))
    found = [lock_file.read(path)]
    os.utime(path, (5, 5))
    found.append(lock_file.read(path))
    os.truncate(path, 100)
    os.utime(path, (5, 5))
    found.append(lock_file.read(path))
    assert len({each.trace for each in found}) == 3
    assert [each.token == OTHER for each in found] == [True, True, False]
