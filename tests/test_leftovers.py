"""At a job's end its files in shared memory go, and nobody else's, however they are named."""

import os
import sys
from pathlib import Path

import pytest

from distcnn.parallel import shared_memory
from distcnn.system import job_status, mpirun
from distcnn.system.mpirun import Job
from tests.helpers import jobs

pytestmark = pytest.mark.skipif(not mpirun.SHARED.is_dir(), reason="no /dev/shm")

# A rank that makes files as ranks and MPI libraries make them, maps one, says so, and waits to be killed:
RANK = """
import mmap, os, sys, time
from distcnn.parallel import shared_memory
segment = sys.argv[2]
with open(segment, "w+b") as file:
    file.truncate(4096)
    memory = mmap.mmap(file.fileno(), 4096)
with shared_memory._reserved(4096) as path:
    open(sys.argv[1], "w").write(path)
    time.sleep(1000)
"""


@pytest.fixture
def shared(request):
    """Make names in shared memory, and remove what is left of them."""
    made = []

    def path(name):
        made.append(mpirun.SHARED / name)
        return made[-1]

    yield path
    for each in made:
        each.unlink(missing_ok=True)


@pytest.fixture
def job(tmp_path, shared, monkeypatch):
    """A job whose only rank has made files in shared memory."""
    monkeypatch.setattr(mpirun, "_launcher", lambda ranks, environ: ([], {}))
    segment = shared(f"sm_segment.test-{os.getpid()}")
    said = tmp_path / "said"
    job = Job(1, [sys.executable, "-c", RANK, str(said), str(segment)], tmp_path / "status")
    try:
        jobs.wait_until(lambda: said.exists() and said.read_text(), lambda: job.ended)
        job.own = [Path(said.read_text()), segment]
        yield job
    finally:
        job.end()


def test_a_job_removes_its_own_and_nothing_else(job, shared):
    others = [
        *(f"distcnn-{word}.h5" for word in ("mnist", "data", "1")),
        f"distcnn-{os.getpid()}-abcdefgh",
        f"distcnn-{job.name}",  # not as it names its own
        "mpich_shm_of_another_job",
        "sm_segment.of.another.job",
        "vader_segment.of.another.job",
    ]
    paths = [shared(f"{name}.{os.getpid()}" if "job" in name else name) for name in others]
    for path in paths:
        path.write_bytes(b"x")
    assert all(path.exists() for path in job.own)
    assert job.name in job.own[0].name
    job.end()
    assert [path for path in job.own if path.exists()] == []
    assert [path for path in paths if not path.exists()] == []


def test_segments_seen_before_the_ranks_died_are_removed(job):
    job.look()
    job.process.kill()
    job.process.wait()
    job.end()
    assert [path for path in job.own if path.exists()] == []


def test_a_segment_that_nobody_saw_stays(job):
    """It cannot be told from that of another job."""
    job.process.kill()
    job.process.wait()
    job.end()
    assert [path.exists() for path in job.own] == [False, True]


def test_a_segment_that_another_process_uses_or_has_made_anew_stays(job):
    own, segment = job.own
    job.look()
    with open(segment, "rb"):
        job.end()
        assert (own.exists(), segment.exists()) == (False, True)
    segment.rename(f"{segment}.old")
    segment.write_bytes(b"of another job")
    os.unlink(f"{segment}.old")
    mpirun._remove_leftovers(job.name, job._segments)
    assert segment.exists()


def test_links_and_files_of_others_stay(job, shared, tmp_path):
    (tmp_path / "victim").write_bytes(b"x")
    link = shared(f"distcnn-{job.name}-link")
    link.symlink_to(tmp_path / "victim")
    foreign = shared(f"distcnn-{job.name}-foreign")
    foreign.write_bytes(b"x")
    if os.geteuid() == 0:
        os.chown(foreign, 1234, 1234)
    job.end()
    assert link.is_symlink()
    assert (tmp_path / "victim").exists()
    assert foreign.exists() == (os.geteuid() == 0)


def test_a_name_is_of_the_job_or_of_the_process(monkeypatch):
    for job, wanted in (("f" * 32, "f" * 32), (None, str(os.getpid()))):
        monkeypatch.delenv(job_status.MARK, raising=False)
        if job:
            monkeypatch.setenv(job_status.MARK, job)
        with shared_memory._reserved(64) as path:
            assert Path(path).name.startswith(f"distcnn-{wanted}-")


def test_mpi_itself_names_its_files_as_expected(mpirun, run):
    """What a rank of a real job has mapped begins with one of the names that are looked for."""
    program = (
        "from mpi4py import MPI; MPI.COMM_WORLD.allgather(1); import re; "
        "print(*re.findall(r'/dev/shm/(?!distcnn)\\S+', open('/proc/self/maps').read()))"
    )
    done = mpirun(2, "python", "-c", program)
    assert done.returncode == 0, done.stderr
    found = {Path(word).name for word in done.stdout.split()}
    from distcnn.system.mpirun import OF_MPI

    assert [name for name in found if not name.startswith(OF_MPI)] == []


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A job of Open MPI's, whose mpirun was killed, and the folder that mpirun has left."""
    if not jobs.tolerant():
        pytest.skip("Open MPI's mpirun has a folder")
    monkeypatch.setenv("PRTE_MCA_prte_tmpdir_base", str(tmp_path))
    job = Job(
        1, [sys.executable, "-c", "import time; print(flush=True); time.sleep(1000)"], tmp_path / "status"
    )
    folder = tmp_path / f"ompi.{job.process.pid}"
    try:
        jobs.wait_until(folder.is_dir, lambda: job.ended)
        job.look()
        job.process.kill()
        job.process.wait()
        yield job, folder
    finally:
        job.end()


@pytest.mark.mpirun
def test_the_folder_of_an_mpirun_that_was_killed_is_removed(killed):
    """If it stays, Open MPI's mpirun fails where it gets the same process number."""
    job, folder = killed
    assert folder.is_dir()
    (folder.parent / "ompi.1").mkdir()
    job.end()
    assert not folder.exists()
    assert (folder.parent / "ompi.1").is_dir()


@pytest.mark.mpirun
def test_a_folder_that_another_mpirun_has_made_stays(killed):
    job, folder = killed
    folder.rename(folder.with_name("before"))
    folder.mkdir()
    job.end()
    assert folder.is_dir()
