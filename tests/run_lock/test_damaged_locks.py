"""What lies in a lock's place and is none, or a damaged one."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from distcnn.errors import FolderInUse, OutputError
from distcnn.run import lock_file
from distcnn.run.lock_record import LIMIT, parse
from distcnn.run.run_lock import NAME
from tests.helpers.locks import (
    OTHER,
    TOKEN,
    elsewhere,
    lock,
    plant,
    record,
)

FIELDS = json.loads(record(elsewhere()).to_bytes())
DAMAGED = {
    "empty": b"",
    "cut": record(elsewhere()).to_bytes()[:-5],
    "not JSON": b"\xff\x00" * 100,
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no processes": json.dumps(FIELDS | {"processes": []}).encode(),
    "a path for a token": json.dumps(FIELDS | {"token": "../../../../../x"}).encode(),
    "a number of a group": json.dumps(
        FIELDS | {"processes": [FIELDS["processes"][0] | {"pid": -1}]}
    ).encode(),
    "a float for a number": json.dumps(
        FIELDS | {"processes": [FIELDS["processes"][0] | {"pid": 1.5}]}
    ).encode(),
    "huge": b" " * (LIMIT + 1),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_lock_is_replaced_if_nobody_renews_it(clock, content):
    assert parse(content) is None
    path = plant(content)
    with lock(pause=clock.pause) as one:
        one.hold("a")
        assert lock_file.read(path).token == TOKEN
    assert os.listdir("a") == []
    assert clock.now == 30


def test_a_damaged_lock_that_its_holder_renews_is_in_use(clock):
    with lock() as one:
        one.hold("a")
        plant(b"")
        clock.then[2] = one.check
        with pytest.raises(FolderInUse, match=f"process {os.getpid()} "):
            lock(OTHER, pause=clock.pause).hold("a")
        assert lock_file.read(Path("a", NAME)).token == TOKEN


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


NO_FILES = {
    "link": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "socket": bind,
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_not_a_file_is_refused_and_stays(make):
    path = Path("a", NAME)
    make(path)
    kind = path.lstat().st_mode
    with pytest.raises(OutputError, match=r"\.lock: cannot be read: .*: remove it, or choose another --out"):
        lock().hold("a")
    assert path.lstat().st_mode == kind
    assert os.listdir("a") == [NAME]
    shutil.rmtree(path) if path.is_dir() else path.unlink()  # the remedy
    with lock() as one:
        one.hold("a")


def test_names_in_a_lock_are_shown_as_text(clock):
    """Whoever can write to the folder could have planted them."""
    path = plant(record(elsewhere(host="\x1b[2Jnode" + "x" * 10_000)))
    clock.then[1] = lambda: os.utime(path)
    with pytest.raises(FolderInUse) as caught:
        lock(pause=clock.pause).hold("a")
    assert len(str(caught.value)) < 500  # and `say`, which prints it, shows \x1b
