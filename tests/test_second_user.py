"""Another user of the machine, with a group in common or without, gets nothing of what a run reads and writes."""

import os
import pickle
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from distcnn.data.importers.writer import Samples, write
from distcnn.errors import OutputError
from distcnn.run import checkpoint
from distcnn.system import cache_dir, job_status
from distcnn.system.atomic_files import require_free, write_whole
from tests.helpers import jobs
from tests.helpers.compute import COMPUTE

STRANGER, GROUP = 65534, 60000  # a user, and a group that this one shares
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be two users")


@pytest.fixture
def place():
    """Return an empty folder to which every user has a way."""
    folder = Path(tempfile.mkdtemp(prefix="distcnn-tests-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


# ---- the folder of the cache ----


@pytest.fixture
def cached(place, monkeypatch, capsys):
    """Return a function that returns the cache's folder, or None, and the lines on stderr."""

    def call():
        cache_dir._WARNED.clear()
        found = [cache_dir.folder("some"), cache_dir.folder("some")][-1]
        return found, capsys.readouterr().err.splitlines()

    (place / "tmp").mkdir()
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "home" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(place / "tmp"))
    return call


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o000])
def test_all_folders_that_are_made_are_private(cached, place, umask):
    before = os.umask(umask)
    try:
        found, lines = cached()
    finally:
        os.umask(before)
    assert found == place / "home/cache/distcnn/some"
    assert lines == []
    for each in (found, *found.parents[:3]):
        assert stat.S_IMODE(each.stat().st_mode) == 0o700


def replaced_by_link(path):
    path.rename(f"{path}-elsewhere")
    path.symlink_to(f"{path}-elsewhere")


UNSAFE = {
    "others can write": (".", lambda path: path.chmod(0o707)),
    "the group can write": (".", lambda path: path.chmod(0o770)),
    "the group can write to the folder above": ("..", lambda path: path.chmod(0o770)),
    "the group can replace the folder above": ("../..", lambda path: path.chmod(0o770)),
    "others can replace a folder on the way": ("../../..", lambda path: path.chmod(0o777)),
    "a link": (".", replaced_by_link),
    "a link above": ("..", replaced_by_link),
}
FOREIGN = {
    "another user's": (".", lambda path: os.chown(path, STRANGER, -1)),
    "another user's above": ("..", lambda path: os.chown(path, STRANGER, -1)),
    "another user's on the way": ("../../..", lambda path: os.chown(path, STRANGER, -1)),
    "through another user's link": (
        "../..",
        lambda path: (replaced_by_link(path), os.lchown(path, STRANGER, -1)),
    ),
}


@pytest.mark.parametrize(
    ("above", "change"),
    [*UNSAFE.values(), *(pytest.param(*each, marks=as_root) for each in FOREIGN.values())],
    ids=[*UNSAFE, *FOREIGN],
)
def test_a_folder_that_others_can_change_is_not_used(cached, place, above, change):
    found, _ = cached()
    change(Path(os.path.normpath(found / above)))
    other, (line,) = cached()
    assert other == place / "tmp" / f"distcnn-{os.getuid()}" / "some"
    assert "distcnn: warning: " in line
    assert str(place / "home") in line


def test_without_any_safe_folder_there_is_no_cache(cached, place):
    (place / "home").mkdir()
    for each in ("home", "tmp"):
        (place / each).chmod(0o777)
    found, lines = cached()
    assert found is None
    assert len(lines) == 1
    assert not [*place.glob("*/*")]


def test_the_folder_of_temporary_files_of_all(cached, place):
    """With the sticky bit nobody can rename what others have made there."""
    (place / "tmp").chmod(0o1777)
    (place / "home").write_text("")  # no folder can be made there
    found, lines = cached()
    assert (found, lines) == (place / "tmp" / f"distcnn-{os.getuid()}" / "some", [])


def test_links_of_this_user_on_the_way_are_followed(cached, place):
    (place / "scratch").mkdir()
    (place / "home").symlink_to("./tmp/../scratch")
    assert cached() == (place / "scratch/cache/distcnn/some", [])


def test_only_the_first_rank_of_a_node_warns(cached, place, monkeypatch):
    (place / "home").mkdir()
    (place / "home").chmod(0o777)
    monkeypatch.setenv("MPI_LOCALRANKID", "1")
    assert cached()[1] == []
    monkeypatch.setenv("MPI_LOCALRANKID", "0")
    assert len(cached()[1]) == 1


class Payload:
    """What runs code where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def as_stranger(function):
    """Call a function in a process of the other user, who is in the group; it may fail."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([GROUP])
            os.setgid(GROUP)
            os.setuid(STRANGER)
            function()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def compute(place):
    """Compute with kernels in the cache as a user whose group can write to all files, by the usual umask."""
    env = jobs.clean_environment(
        {"XDG_CACHE_HOME": str(place / "home" / ".cache"), "TMPDIR": str(place / "tmp")}
    )
    command = [sys.executable, "-c", COMPUTE]
    done = subprocess.run(
        command, env=env, group=GROUP, umask=0o002, capture_output=True, text=True, timeout=jobs.LIMIT
    )
    assert done.returncode == 0, done.stderr
    return done


@as_root
@pytest.mark.parametrize("planted", ["in the cache", "in /tmp"])
def test_no_code_of_another_user_runs(place, planted):
    """The other user replaces whatever folder can be replaced, and puts code into files of the right names."""
    (place / "ran").mkdir(mode=0o777)
    (place / "tmp").mkdir()
    (place / "tmp").chmod(0o1777)
    (place / "home").mkdir(mode=0o755)
    if planted == "in /tmp":
        (place / "home/.cache").write_text("")  # no home that can be written
    before = compute(place)
    payload = pickle.dumps(Payload(place / "ran/code"))
    files = list(place.rglob("*.nb?"))
    assert files

    def attack():
        for path in files:
            for folder in path.parents[:2]:
                with suppress(OSError):
                    folder.rename(f"{folder}-away")
                    folder.symlink_to(
                        "."
                    )  # the folder above: it is the first user's, and the group can write there
            with suppress(OSError):
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(payload)

    as_stranger(attack)
    after = compute(place)
    assert after.stdout == before.stdout
    assert not [*(place / "ran").iterdir()]


@as_root
def test_a_folder_that_another_user_has_made_first(place):
    (place / "home").write_text("")
    (place / "tmp").mkdir()
    (place / "tmp").chmod(0o1777)
    as_stranger(lambda: (place / "tmp/distcnn-0").mkdir(mode=0o777))
    assert (place / "tmp/distcnn-0").stat().st_uid == STRANGER
    done = compute(place)
    assert str(place / "tmp/distcnn-0") in done.stderr
    assert not [*(place / "tmp/distcnn-0").iterdir()]


# ---- temporary files ----

SAMPLES = Samples({"train": (np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2))}, ("a",))
WRITERS = {
    "whole": lambda: write_whole("out", b"new"),
    "dataset": lambda: write("out", SAMPLES),
    "status": lambda: job_status.file_in(".").__enter__(),
    "best": lambda: checkpoint.mark_best(".", 3),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_links_in_the_place_of_temporary_files_are_not_followed(tmp_path, monkeypatch, writer):
    monkeypatch.chdir(tmp_path)
    Path("key").write_text("secret")
    names = f".out.{os.getpid()}.tmp", f".launch-{os.getpid()}", ".best.h5.tmp"
    for name in names:
        Path(name).symlink_to("key")
    WRITERS[writer]()
    assert Path("key").read_text() == "secret"
    assert all(Path(name).is_symlink() for name in names if writer != "status" or "launch" in name)


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_a_file_has_the_mode_that_the_umask_gives(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "out", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o666 & ~umask
    assert os.listdir(tmp_path) == ["out"]


def test_a_pipe_in_the_place_of_a_status_file_stops_nothing(tmp_path):
    os.mkfifo(tmp_path / ".launch-1")
    done = []

    def call():
        with job_status.file_in(tmp_path) as path:
            done.append(path.read_bytes())

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20)
    assert done == [b""]


# ---- what is not a file ----


def bind(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


NO_FILES = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "socket": bind,
    "device": pytest.param(
        lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3)), marks=as_root
    ),
    "link": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_not_a_file_is_never_replaced(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    try:
        make(Path("out"))
    except PermissionError:
        pytest.skip("not possible here")
    before = os.lstat("out")
    for force in (False, True):
        with pytest.raises(OutputError, match="regular file"):
            require_free("out", force)
    if not Path("out").is_symlink():
        with pytest.raises(OutputError, match="regular file"):
            write_whole("out", b"new")
    assert os.lstat("out") == before
    assert os.listdir() == ["out"]


@pytest.mark.parametrize(
    "words",
    [
        ("distcnn.data", "show", "some.h5", "out.png", "--force"),
        ("distcnn.data", "import", "src", "out.h5", "--force"),
        ("distcnn.predict", "run", "--out", "out.h5", "--force"),
    ],
    ids=["show", "import", "predict"],
)
def test_commands_refuse_it_in_one_line(run, tmp_path, words):
    out = next(word for word in words if word.startswith("out."))
    os.mkfifo(tmp_path / out)
    done = run("python", "-m", *words, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{out}: exists and is not a regular file" in line
    assert stat.S_ISFIFO((tmp_path / out).stat().st_mode)
