"""Temporary folders: what a killed command has left goes with the next one, and nothing else."""

import json
import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from distcnn.system.processes import this_process
from distcnn.system.temporary_folder import OWNER, temporary_folder
from tests.helpers import jobs


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left(base, name, owner=None, **changes):
    """Leave a folder, as a command that was killed."""
    folder = base / name
    (folder / "kernels").mkdir(parents=True)
    owner = json.dumps((this_process()._replace(**changes))._asdict()).encode() if owner is None else owner
    (folder / OWNER).write_bytes(owner)
    return folder


def test_a_folder_is_private_and_goes():
    with temporary_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        with temporary_folder() as other:
            assert folder.exists()
            assert other != folder
        assert folder.exists()
    assert not folder.exists()


def test_those_of_dead_processes_go_and_no_others(base):
    dead = left(base, "distcnn-dead____", start=this_process().start - 1)
    others = [
        left(base, "distcnn-lives___"),
        left(base, "distcnn-host____", host="another", start=1),
        left(base, "distcnn-damaged_", owner=b"{}"),
        left(base, "distcnn-empty___", owner=b""),
        left(base, "distcnn-huge____", owner=b" " * 10_000),
        left(base, "distcnn-data", start=1),
        left(base, "other-dead____", start=1),
    ]
    (base / "distcnn-12345678").mkdir()  # as the cache of the user 12345678
    (base / "distcnn-link____").symlink_to(left(base, "elsewhere", start=1))
    if os.geteuid() == 0:
        others.append(left(base, "distcnn-foreign_", start=1))
        os.chown(others[-1], 1234, 1234)
    before = set(base.iterdir())
    with temporary_folder() as folder:
        assert set(base.iterdir()) == before - {dead} | {folder}
    assert all(each.exists() for each in others)


@pytest.mark.slow
def test_the_next_verify_removes_what_a_killed_one_has_left(base, monkeypatch):
    monkeypatch.chdir(base)
    jobs.run("python", "-m", "distcnn.train", "--max-steps", 1, "--out", "a", "--progress", "none")
    os.mkdir("tmp")
    words, environment = ("python", "-m", "distcnn.verify", "a"), {"TMPDIR": base / "tmp"}
    job = jobs.Job(*words, env=environment)
    try:
        while not list(Path("tmp").glob(f"distcnn-*/{OWNER}")):
            assert not job.wait(0), jobs.show(job.result())
            time.sleep(0.05)
        for pid in jobs.members(job.name):
            os.kill(pid, signal.SIGKILL)
    finally:
        job.end()
    assert os.listdir("tmp") != []
    done = jobs.run(*words, env=environment)
    assert done.returncode == 0, jobs.show(done)
    assert os.listdir("tmp") == []
