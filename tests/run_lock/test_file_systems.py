"""Locks on file systems without links, that lose answers, are full or cannot be written."""

import os
from pathlib import Path

import pytest

from distcnn.errors import OutputError
from distcnn.run import lock_file
from tests.helpers.locks import (
    OTHER,
    complaint,
    lock,
    plant,
    record,
)


def without_links(source, target):
    raise PermissionError(1, "Operation not permitted")


def with_lost_answers(source, target, link=os.link):
    """As NFS, when the answer to a link is lost and the client asks again."""
    link(source, target)
    raise FileExistsError(17, "File exists")


@pytest.mark.parametrize("link", [without_links, with_lost_answers])
def test_other_file_systems(monkeypatch, dead, link):
    monkeypatch.setattr(lock_file.os, "link", link)
    plant(record(dead))
    with lock() as one:
        one.hold("a")
        complaint(lock(OTHER))
    assert os.listdir("a") == []


@pytest.mark.parametrize("folder", ["missing", "/proc", "file"])
def test_a_folder_that_cannot_be_written_is_refused(folder):
    Path("file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        lock().hold(folder)


def test_a_full_disk_at_the_start_is_refused_and_later_none(monkeypatch):
    def fail(path, record):
        raise OSError(28, "No space left on device")

    with lock() as one:
        one.hold("a")
        monkeypatch.setattr(lock_file, "_write_new", fail)
        with lock() as rank:  # another rank of the job, which has become rank 0
            rank.keep("a")
            assert rank.check()
            assert not rank.warnings
        assert os.listdir("a") == []  # so the first one has to make it again
        assert one.check()
        assert "No space left" in one.warnings[0]
        said = complaint(lock(OTHER))  # the other has none, but there is no room for its own either
        assert said == "a: cannot be written: No space left on device; make room, or choose another --out"
