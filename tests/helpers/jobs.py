"""Commands and MPI jobs that tests start, under either MPI, with a time limit that none of them outlives."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import distcnn
from distcnn.system import threads

ROOT = Path(distcnn.__file__).parents[1]
MARK = "DISTCNN_TEST_JOB"  # in the environment of every process of a job: how its processes are found
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",  # in containers tests often run as root
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # more ranks than cores, Open MPI 5
    "OMPI_MCA_rmaps_base_oversubscribe": "1",  # the same, Open MPI 4
    "OMPI_MCA_mtl": "^ofi",  # do not look for networks: start-up 1.7 s -> 0.6 s
    "OMPI_MCA_btl": "^ofi",
}
# From an outer launcher, not for an inner job.
OUTER_JOB = "PMI", "OMPI_COMM_WORLD", "MPI_LOCAL", "HYD"


def launched() -> bool:
    """Return whether this process is itself a rank of a job."""
    return "PMI_SIZE" in os.environ or "OMPI_COMM_WORLD_SIZE" in os.environ


def launcher() -> str | None:
    """Return the mpirun that belongs to this Python, or else the one on the path."""
    return shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")


def run(*command, env=None, cwd=None, timeout=60, meanwhile=None) -> subprocess.CompletedProcess:
    """Run a command to its end and return its exit code and output; "python" means this Python.

    `env` is added to the environment. After `timeout` seconds the command and all that it started are killed
    and an AssertionError shows the output so far. `meanwhile` is called with the job's name, for `members`.
    """
    name = uuid.uuid4().hex
    words = [sys.executable if word == "python" else str(word) for word in command]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            words,
            env=clean_environment(env or {}) | {MARK: name},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            if meanwhile:
                meanwhile(name)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout)
            late = process.returncode is None
        finally:
            _end(process, name)
        done = subprocess.CompletedProcess(words, process.returncode, _text(stdout), _text(stderr))
    if late:
        raise AssertionError(f"still running after {timeout} s: {show(done)}")
    return done


def mpirun(ranks: int, *command, **options) -> subprocess.CompletedProcess:
    """Run a command on several ranks; the rest is as in `run`."""
    return run(launcher() or "mpirun", "-n", ranks, *command, **options)


def survivable(ranks: int, *command, **options) -> subprocess.CompletedProcess:
    """Run a command on several ranks, whose death the others survive: only where `tolerant`."""
    return run(launcher(), "--with-ft", "ulfm", "-n", ranks, *command, **options)


@cache
def tolerant() -> bool:
    """Return whether MPI survives the death of ranks: Open MPI does from version 5 on."""
    if not launcher():
        return False
    said = subprocess.run([launcher(), "--version"], capture_output=True, text=True).stdout
    found = re.search(r"\(Open MPI\) (\d+)", said)
    return bool(found) and int(found[1]) >= 5


def show(done: subprocess.CompletedProcess) -> str:
    """Return what a person needs to understand a failed command."""
    return f"{' '.join(done.args)}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def clean_environment(extra: dict) -> dict:
    """Return the environment that this process was started in, in which any folder finds distcnn."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in threads.THREADS and not name.startswith(OUTER_JOB)
    }
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return OPEN_MPI | inherited | {"PYTHONPATH": path} | {name: str(value) for name, value in extra.items()}


def _end(process: subprocess.Popen, name: str) -> None:
    """Stop the job, gently at first so that the launcher can tidy up, then whatever is left of it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
    for pid in members(name):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def members(name: str) -> list[int]:
    """Return the job's processes, by their environment: launchers give ranks groups and sessions anew."""
    mark = f"{MARK}={name}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def _text(file) -> str:
    file.seek(0)
    return file.read()
