"""A job of several ranks: starts mpirun with the settings that it needs, and cleans up after the end of the job.

The job's processes are found by a variable in their environment, because launchers give ranks their own process groups
and sessions.

At its end a job removes those files in shared memory that bear its name, those files of MPI that its processes were
seen to map, and the folder of its mpirun. All others may belong to another job, whose processes may be invisible here.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from distcnn.errors import LaunchError
from distcnn.system.job_status import FILE, LOCK, MARK
from distcnn.system.threads import cores

# Variables that are set where a scheduler has chosen nodes and cores:
BATCH = "SLURM_JOB_ID", "PBS_NODEFILE", "LSB_JOBID", "JOB_ID"
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
ONE_MACHINE = {"OMPI_MCA_mtl": "^ofi", "OMPI_MCA_btl": "^ofi"}  # start-up 1.7 s -> 0.6 s
OVERSUBSCRIBE = {  # for more ranks than cores: Open MPI 5, then 4
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
SESSIONS = "PRTE_MCA_prte_tmpdir_base"  # where Open MPI 5 has the folders of its mpiruns, if it is set
SHARED = Path("/dev/shm")
# Prefixes of the names of the files of MPI libraries in shared memory. They are found by what processes map, because a
# folder for each job (Open MPI's btl_sm_backing_directory) must exist on every host: where it does not, ranks print an
# error and exchange without shared memory.
OF_MPI = ("mpich_shm_", "ucx_shm_", "sm_segment.", "vader_segment.")
GRACE = 2  # seconds that mpirun has to end its ranks, on other hosts, too

Segment = tuple[Path, int]  # a file of MPI's in shared memory, or a folder, and its inode's number


class Job:
    """A command that runs on several ranks; the constructor starts it.

    ranks: the number of ranks.
    command: the words of the command.
    status_file: the file to which the job's rank 0 writes its status, see `job_status`.
    options: more options for mpirun.
    """

    def __init__(self, ranks: int, command: list[str], status_file: Path, options: Iterable[str] = ()):
        self.name = uuid.uuid4().hex
        self._segments: set[Segment] = set()  # of MPI's, that processes of this job have mapped
        self._session: Segment | None = None  # the folder of mpirun
        environment = os.environ | {MARK: self.name, FILE: str(status_file)}
        launcher, settings = _launcher(ranks, os.environ)
        self.process = subprocess.Popen(
            [*launcher, *options, *command] if launcher else command,
            env=settings | environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that the terminal's Ctrl-C reaches only the launcher
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )

    @property
    def ended(self) -> bool:
        """Whether mpirun has ended."""
        return self.process.poll() is not None

    def ask_to_stop(self) -> None:
        """Ask all ranks to save and stop, by SIGUSR1, which mpirun, unlike SIGTERM, only forwards to all ranks."""
        self.process.send_signal(signal.SIGUSR1)

    def look(self) -> None:
        """Remember which of MPI's files are this job's, for `end`: afterwards nothing tells."""
        if not self.ended:
            self._session = _session(self.process.pid) or self._session
        for process in _members(self.name):
            self._segments |= _segments(process)

    def end(self) -> None:
        """Kill all processes of the job that are left, and remove its files in shared memory and mpirun's folder."""
        self.look()
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
        _remove_leftovers(self.name, self._segments)
        _remove_session(self._session)


def _launcher(ranks: int, environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return (words, settings): the words before a command that run it on several ranks, and environment variables."""
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
        words += ["-x", MARK, "-x", FILE, *(["-x", LOCK] if LOCK in environ else [])]  # to other hosts, too
        words += [] if "Open MPI) 4" in found.stdout else ["--with-ft", "ulfm"]
    return words, settings


def _end_with_parent() -> None:
    """Make the kernel end mpirun if distcnn's launcher is killed (PR_SET_PDEATHSIG of Linux is 1)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _members(name: str) -> list[int]:
    """Return the process numbers of a job on this host."""
    mark, members = f"{MARK}={name}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended meanwhile, or is another user's
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                members.append(int(folder.name))
    return members


def _segments(process: int) -> set[Segment]:
    """Return MPI's files in shared memory that a process has mapped."""
    found: set[Segment] = set()
    with suppress(OSError):  # the process has ended meanwhile
        for line in Path(f"/proc/{process}/maps").read_text(errors="replace").splitlines():
            path = Path(line[line.index(f"{SHARED}/") :]) if f"{SHARED}/" in line else None
            if path and path.parent == SHARED and path.name.startswith(OF_MPI):
                found.add((path, int(line.split()[4])))
    return found


def _session(process: int) -> Segment | None:
    """Return the folder that Open MPI's mpirun makes for a job, if it is this user's; process: of mpirun."""
    base = os.environ.get(SESSIONS) or tempfile.gettempdir()
    with suppress(OSError):
        path = Path(base, f"ompi.{process}")
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            return path, status.st_ino
    return None


def _remove_session(session: Segment | None) -> None:
    """Remove the folder of an mpirun that was killed: no other mpirun that gets its process number could start."""
    with suppress(OSError):
        if session and session[0].lstat().st_ino == session[1]:
            shutil.rmtree(session[0], ignore_errors=True)


def _remove_leftovers(name: str, segments: Iterable[Segment]) -> None:
    """Remove what a job has left in shared memory: this user's files of its name, and of its segments.

    name: of the job, none of whose processes is left on this host
    segments: of MPI's, that the job's processes had mapped
    """
    files: list[tuple[Path, int | None]] = [(path, None) for path in SHARED.glob(f"distcnn-{name}-*")]
    files += [(path, inode) for path, inode in segments if path.exists()]
    used = _used() if files else set()  # by a process that has left the job's environment, perhaps
    for path, inode in files:
        if str(path) not in used and _is_own(path, inode):
            path.unlink(missing_ok=True)


def _is_own(path: Path, inode: int | None) -> bool:
    """Return whether a path is a regular file of this user, and the one of this number if there is one."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and inode in (None, status.st_ino)


def _used() -> set[str]:
    """Return the files that any process has open or mapped.

    The open files of a process are listed before its mapped files, because a file is opened before it is mapped. A
    process without memory is ending: the kernel frees its memory before it closes its files.
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
    """Return the target of a link, or an empty string if the link does not exist any more."""
    with suppress(OSError):
        return os.readlink(link)
    return ""
