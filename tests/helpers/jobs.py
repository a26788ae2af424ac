"""Commands and MPI jobs that tests start, under either MPI, with a time limit that none of them outlives."""

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import distcnn
from distcnn.system import threads

ROOT = Path(distcnn.__file__).parents[1]
WITHOUT_PICTURES = str(Path(__file__).with_name("without_pictures"))
PICTURES = {"PYTHONPATH": ROOT}  # `env` of commands whose pictures are looked at
MARK = "DISTCNN_TEST_JOB"  # in the environment of every process of a job: how its processes are found
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",  # in containers tests often run as root
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # more ranks than cores, Open MPI 5
    "OMPI_MCA_rmaps_base_oversubscribe": "1",  # the same, Open MPI 4
    "OMPI_MCA_mtl": "^ofi",  # do not look for networks: start-up 1.7 s -> 0.6 s
    "OMPI_MCA_btl": "^ofi",
}
# Below it each command has a folder for Open MPI's sessions, which bear the number of mpirun's process: an mpirun that
# was killed leaves its session, and the next one with this number could not start.
SESSIONS = Path(tempfile.gettempdir(), f"distcnn-tests-{uuid.uuid4().hex}")
LIMIT = 600  # seconds, also on a busy machine: only a command that hangs takes longer
# From an outer launcher, not for an inner job.
OUTER_JOB = "PMI", "OMPI_COMM_WORLD", "MPI_LOCAL", "HYD"
# What would change what commands print, pytest among them, from one machine to another.
PRINTING = "CI", "BUILD_NUMBER", "COLUMNS", "LINES", "PYTEST_ADDOPTS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS"
# It makes print() write a line in two pieces, between which the mpirun puts what another rank prints.
PIECES = "PYTHONUNBUFFERED"
LEFT_OUT = {*threads.THREADS, *PRINTING, "PYTHONDONTWRITEBYTECODE", PIECES}


def launched() -> bool:
    """Return whether this process is itself a rank of a job."""
    return "PMI_SIZE" in os.environ or "OMPI_COMM_WORLD_SIZE" in os.environ


def wait_until(condition, ended=lambda: False) -> None:
    """Wait until condition() is true; fail if ended() is true before, or at the limit."""
    end = time.monotonic() + LIMIT
    while not (over := ended()) and time.monotonic() < end and not condition():
        time.sleep(0.02)
    assert condition(), "it has ended before" if over else f"not within {LIMIT} s"


def launcher() -> str | None:
    """Return the mpirun that belongs to this Python, or else the one on the path."""
    return shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")


class Job:
    """A command and all that it starts; "python" means this Python, and `env` is added to the environment."""

    def __init__(self, *command, env=None, cwd=None):
        self.name = uuid.uuid4().hex
        self.words = [sys.executable if word == "python" else str(word) for word in command]
        self._output = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115  (as long as this object)
        self._process = subprocess.Popen(
            self.words,
            env=clean_environment(env or {}) | {MARK: self.name},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._output[0],
            stderr=self._output[1],
            start_new_session=True,
        )

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the command; return whether it came in time, in seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self._process.returncode is not None

    def end(self) -> None:
        """Stop the command, gently at first so that a launcher can tidy up, then whatever is left of it."""
        if self._process.poll() is None:
            self._process.terminate()
            if not self.wait(2):
                self._process.kill()
        kill(self.name)
        self._process.wait()

    def result(self, since=(0, 0)) -> subprocess.CompletedProcess:
        """Return the exit code, None before the end, and the output, from the given places in it on."""
        texts = map(_text, self._output, since)
        return subprocess.CompletedProcess(self.words, self._process.returncode, *texts)

    def places(self) -> tuple[int, int]:
        """Return how much has been written so far, for `result`."""
        return tuple(os.fstat(file.fileno()).st_size for file in self._output)


def run(*command, env=None, cwd=None, timeout=LIMIT, meanwhile=None) -> subprocess.CompletedProcess:
    """Run a command to its end and return its exit code and output.

    After `timeout` seconds the command and all that it started are killed and an AssertionError shows the output
    so far. `meanwhile` is called with the job's name, for `members`.
    """
    job = Job(*command, env=env, cwd=cwd)
    try:
        if meanwhile:
            meanwhile(job.name)
        in_time = job.wait(timeout)
    finally:
        job.end()
    if not in_time:
        raise AssertionError(f"still running after {timeout} s: {show(job.result())}")
    return job.result()


def mpirun(ranks: int, *command, **options) -> subprocess.CompletedProcess:
    """Run a command on several ranks; the rest is as in `run`."""
    return run(launcher() or "mpirun", "-n", ranks, *command, **options)


def survivable(ranks: int, *command, **options) -> subprocess.CompletedProcess:
    """Run a command on several ranks, each of which may die without the others: only where `tolerant`."""
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
    """Return the environment that this process was started in, in which any folder finds distcnn.

    Pictures are empty: see without_pictures. Python keeps the bytecode of what it compiles, even if told not to.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in LEFT_OUT and not name.startswith(OUTER_JOB)
    }
    path = os.pathsep.join(filter(None, [WITHOUT_PICTURES, str(ROOT), os.environ.get("PYTHONPATH")]))
    ours = {"PYTHONPATH": path, "PRTE_MCA_prte_tmpdir_base": str(SESSIONS / uuid.uuid4().hex)}
    return OPEN_MPI | inherited | ours | {name: str(value) for name, value in extra.items()}


@atexit.register
def _remove_sessions() -> None:
    """Remove what killed jobs have left of Open MPI's sessions."""
    shutil.rmtree(SESSIONS, ignore_errors=True)


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


def kill(name: str) -> None:
    """Kill all processes of a job."""
    for pid in members(name):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _text(file, since: int) -> str:
    """Return what has been written to a file, without moving the place at which its other users write."""
    size = os.fstat(file.fileno()).st_size
    text = os.pread(file.fileno(), size - since, since).decode(errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")  # Open MPI gives ranks a terminal
