"""A holder renews its lock, and notices when it has lost it."""

import os
import threading
from pathlib import Path

from distcnn.run import lock_file, run_lock
from distcnn.run.run_lock import NAME
from tests.helpers.locks import (
    OTHER,
    complaint,
    elsewhere,
    lock,
    plant,
    record,
)


def test_a_holder_beats(monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT", 0.01)
    path, beaten, before = Path("a", NAME), threading.Event(), threading.enumerate()
    with lock() as one:
        check = one.check
        monkeypatch.setattr(one, "check", lambda: check() and not beaten.set())
        one.hold("a")
        os.utime(path, (0, 0))
        beaten.clear()
        assert beaten.wait(60)
        assert path.stat().st_mtime > 0
    assert set(threading.enumerate()) <= set(before)


def test_a_lock_that_was_removed_is_made_again():
    with lock() as one:
        one.hold("a")
        os.unlink(f"a/{NAME}")
        assert one.check()
        complaint(lock(OTHER))


def test_a_folder_that_is_gone_is_no_error():
    with lock() as one:
        one.hold("a")
        os.rename("a", "b")
        assert one.check()
        Path("a").write_text("")
        assert one.check()
        os.unlink("a")
        os.mkdir("a")
        assert one.check()
        assert os.listdir("a") == [NAME]
        assert not one.warnings


def test_a_holder_that_was_taken_for_dead_writes_no_more():
    """As when this process, or its host, was stopped for longer than others wait."""
    with lock() as one:
        one.hold("a")
        path = plant(record(elsewhere()))
        os.utime(path, (0, 0))
        assert not one.check()
        assert "process 4711 on node17 since 2026-01-02 03:04:05+00:00 has got the lock" in one.lost
        assert not one.check()
        assert path.stat().st_mtime == 0
    assert lock_file.read(path).token == OTHER


def test_an_error_of_the_disk_is_one_warning(monkeypatch):
    with lock() as one:
        one.hold("a")

        def fail(*arguments, **keywords):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(run_lock.os, "utime", fail)
        assert one.check()
        assert one.check()
        (warning,) = one.warnings
        assert "Input/output error" in warning
        assert "training continues" in warning


def test_a_lock_that_another_job_gets_during_a_beat_is_lost_and_not_touched(monkeypatch):
    """The holder was stopped between reading its lock and giving it a new time."""
    utime, path = os.utime, Path("a", NAME)

    def late(*arguments, **keywords):
        monkeypatch.setattr(os, "utime", utime)
        lock_file.replace(path, record(elsewhere()))
        utime(path, (5, 5))
        utime(*arguments, **keywords)

    with lock() as one:
        one.hold("a")
        monkeypatch.setattr(os, "utime", late)
        assert not one.check()
        assert os.stat(path).st_mtime == 5
