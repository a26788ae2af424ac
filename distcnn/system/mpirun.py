"""One job of several ranks: the mpirun that is found, with the settings that it needs, and nothing left after its end.

Processes are found by a variable in their environment, as launchers give ranks their own process groups and sessions.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from distcnn.errors import LaunchError
from distcnn.system.job_status import FILE
from distcnn.system.threads import cores

MARK = "DISTCNN_JOB"  # the variable, in the environment of every process of a job, that holds the job's name
# Variables that are set where a scheduler has chosen nodes and cores:
BATCH = "SLURM_JOB_ID", "PBS_NODEFILE", "LSB_JOBID", "JOB_ID"
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
ONE_MACHINE = {"OMPI_MCA_mtl": "^ofi", "OMPI_MCA_btl": "^ofi"}  # start-up 1.7 s -> 0.6 s
OVERSUBSCRIBE = {  # for more ranks than cores: Open MPI 5, then 4
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
SHARED = Path("/dev/shm")
LEFTOVERS = ("mpich_shm_*", "sm_segment.*", "vader_segment.*", "distcnn-*")
GRACE = 2  # seconds that mpirun has to end its ranks on other hosts, too


class Job:
    """A command that runs on several ranks, from its start on.

    ranks: how many
    command: the words of the command
    status_file: where the job's rank 0 writes how far it has come, see `job_status`
    options: more options for mpirun
    """

    def __init__(self, ranks: int, command: list[str], status_file: Path, options: Iterable[str] = ()):
        self.name, self.since = uuid.uuid4().hex, time.time()
        environment = os.environ | {MARK: self.name, FILE: str(status_file)}
        launcher, settings = _launcher(ranks, os.environ)
        self.process = subprocess.Popen(
            [*launcher, *options, *command] if launcher else command,
            env=settings | environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that the terminal's Ctrl-C reaches the launcher alone
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )

    @property
    def ended(self) -> bool:
        """Whether mpirun has ended."""
        return self.process.poll() is not None

    def ask_to_stop(self) -> None:
        """Ask all ranks to save and stop: mpirun forwards SIGUSR1 to all of them, unlike SIGTERM, and waits."""
        self.process.send_signal(signal.SIGUSR1)

    def end(self) -> None:
        """End whatever is left of the job: its processes, and its files in shared memory."""
        if not self.ended:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE)
        while members := _members(self.name):
            for process in members:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self.process.poll()  # so that mpirun does not stay a zombie
            time.sleep(0.02)
        self.process.kill()
        self.process.wait()
        _remove_leftovers(self.since)


def _launcher(ranks: int, environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the words that precede a command to run it on so many ranks, and what to set in the environment."""
    own = str(Path(sys.executable).parent)
    mpirun = shutil.which("mpirun", path=own) or shutil.which("mpirun")
    if mpirun is None and ranks == 1:
        return [], {}
    if mpirun is None:
        raise LaunchError(f"no mpirun in {own} or on the PATH: pip install mpich, or load your cluster's MPI")
    found = subprocess.run([mpirun, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    words = [mpirun, "-n", str(ranks)]
    settings: dict[str, str] = {}
    if "Open MPI" in found.stdout or "OpenRTE" in found.stdout:
        settings |= AS_ROOT if os.geteuid() == 0 else {}
        if not any(name in environ for name in BATCH):
            settings |= ONE_MACHINE | (OVERSUBSCRIBE if ranks > cores() else {})
        words += ["-x", MARK, "-x", FILE]  # to other hosts, too
        words += [] if "Open MPI) 4" in found.stdout else ["--with-ft", "ulfm"]
    return words, settings


def _end_with_parent() -> None:
    """Have the kernel end mpirun when its launcher is killed (PR_SET_PDEATHSIG of Linux is 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _members(name: str) -> list[int]:
    """Return the numbers of a job's living processes on this host."""
    mark, members = f"{MARK}={name}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended meanwhile, or is another user's
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                members.append(int(folder.name))
    return members


def _remove_leftovers(since: float) -> None:
    """Remove this user's files in shared memory that were made since then and that no process uses any more."""
    files = [path for pattern in LEFTOVERS for path in SHARED.glob(pattern) if _is_leftover(path, since)]
    used = (
        _used() if files else set()
    )  # listed after the files: a process that makes a file has it open or mapped
    for path in files:
        if str(path) not in used:
            path.unlink(missing_ok=True)


def _is_leftover(path: Path, since: float) -> bool:
    """Return whether a file is this user's and young; one with a process number in its name lasts as long as that."""
    try:
        status = path.stat()
    except OSError:
        return False
    maker = path.name.split("-")[1] if path.name.startswith("distcnn-") else ""
    alive = maker.isdigit() and Path("/proc", maker).exists()
    return status.st_uid == os.geteuid() and status.st_mtime >= since - 1 and not alive


def _used() -> set[str]:
    """Return the files that any process has open or mapped.

    Of each process first the open files are listed, as mapping a file comes after opening it. A process without any
    memory is ending: the kernel takes its memory first, and closes its files after that.
    """
    used: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended meanwhile, or is another user's
            links = {_target(link) for link in (process / "fd").iterdir()} - {""}
            maps = (process / "maps").read_text(errors="replace").splitlines()
            used |= links if maps else set()
            used |= {line[line.index(f"{SHARED}/") :] for line in maps if f"{SHARED}/" in line}
    return used


def _target(link: Path) -> str:
    """Return where a link goes, or an empty string if it is gone."""
    with suppress(OSError):
        return os.readlink(link)
    return ""
