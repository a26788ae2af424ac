"""The lock of a job on its run's folder: one job at a time writes there.

    with RunLock(job_token(), [this_process()]) as lock:
        lock.hold(folder)

A holder on this machine is dead if its processes have ended. One that cannot be seen from here, such as on another
host, shows that it lives by a heartbeat: a thread of it gives the file a new time again and again. A job that finds the
lock watches whether that time changes, and compares no clocks.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from distcnn.errors import FolderInUse, OutputError
from distcnn.run import lock_file
from distcnn.run.lock_holder import BEAT, HolderCheck
from distcnn.run.lock_record import TOKEN, Record
from distcnn.system import job_status
from distcnn.system.atomic_files import remove_temporaries
from distcnn.system.processes import Process, this_process

NAME = ".lock"  # in the run's folder
STOP = 5.0  # seconds that the thread has to end, which may wait for a network file system

STOPPED = "this job has stopped without writing"


def job_token() -> str:
    """Return the token of this job: that of its launcher, whose lock is also this job's, or a random one."""
    given = os.environ.get(job_status.LOCK, "")
    return given if TOKEN.fullmatch(given) else secrets.token_hex(8)


def launcher_lock(pause: Callable[[float], None]) -> RunLock:
    """Return the lock of a launcher, and let its jobs know; pause: as in RunLock."""
    lock = RunLock(secrets.token_hex(8), launcher=this_process(), pause=pause)
    os.environ[job_status.LOCK] = lock.token
    return lock


class RunLock:
    """The lock of this job. In a `with` block it is released at the end of the block.

    token: the name of the job.
    processes: of the job, those that may write to the folder.
    launcher: the process that starts the jobs, if this is its lock.
    pause: waits for so many seconds; it may raise an exception to end the wait for a heartbeat.

    lost: why this job holds the lock no longer and must not write, or None.
    warnings: messages that the caller has to show and to remove.
    """

    def __init__(
        self,
        token: str,
        processes: Sequence[Process] = (),
        launcher: Process | None = None,
        pause: Callable[[float], None] = time.sleep,
    ):
        since = datetime.now().astimezone().isoformat(" ", "seconds")
        self._record = Record(token, since, launcher, tuple(processes))
        self._is_launcher, self._pause = launcher is not None, pause
        self.lost: str | None = None
        self.warnings: deque[str] = deque()  # the thread appends, the caller pops
        self._checks: dict[Path, HolderCheck] = {}
        self._path: Path | None = None  # of the lock, while this process holds it
        self._looking = threading.Lock()  # guards _path and what lies there
        self._released = threading.Event()
        self._thread: threading.Thread | None = None
        self._warned = False

    @property
    def token(self) -> str:
        """The name of the job."""
        return self._record.token

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    # ---- get and release ----

    def require_free(self, folder: str | os.PathLike) -> None:
        """Raise FolderInUse if another job holds a folder, OutputError if that cannot be known; change nothing."""
        path = Path(os.path.abspath(folder), NAME)
        found = lock_file.read(path)
        if found and found.token != self.token:
            self._check_of(path, folder).require_dead(path, found)

    def _check_of(self, path: Path, folder: str | os.PathLike) -> HolderCheck:
        """Return what checks holders of this lock; it remembers whom it has found dead, so as to wait only once."""
        if path not in self._checks:
            self._checks[path] = HolderCheck(folder, self._pause)
        return self._checks[path]

    def hold(self, folder: str | os.PathLike) -> None:
        """Get the lock of a folder, and release that of another one; begin to beat.

        If another process of this job has got it, such as its launcher, this process joins it.

        Raises FolderInUse if another job holds it, OutputError if it cannot be written.
        """
        path = Path(os.path.abspath(folder), NAME)
        if path == self._path:
            return
        self.release()
        check = self._check_of(path, folder).require_dead
        try:
            self._record = lock_file.acquire(path, self._record, check)
        except OSError as error:
            what = f"cannot be written: {error.strerror}; make room, or choose another --out"
            raise OutputError(f"{folder}: {what}") from None
        self._path, self._released = path, threading.Event()
        _remove_leftovers(path)
        self._thread = threading.Thread(target=self._beat, args=[self._released], name="lock", daemon=True)
        self._thread.start()

    def keep(self, folder: str | os.PathLike) -> None:
        """Hold the lock after this rank has become rank 0; if another job has it now, `lost` says so."""
        try:
            self.hold(folder)
        except FolderInUse as error:
            self.lost = f"{error}; {STOPPED}"
        except OutputError as error:
            self.warnings.append(f"{error} (training continues without a lock)")

    def release(self) -> None:
        """Remove the lock, unless the launcher of this job still needs it."""
        self._released.set()
        if self._thread:
            self._thread.join(STOP)
        with self._looking:
            path, self._path, self._thread = self._path, None, None
        needed = self._record.launcher and not self._record.is_orphan
        if path and (self._is_launcher or not needed):
            lock_file.release(path, self.token)

    # ---- heartbeat ----

    def check(self) -> bool:
        """Beat; return whether this job may still write to the folder.

        A lock that somebody has removed or damaged is made again. After an error this job may write.
        """
        with self._looking:
            if self._path and not self.lost:
                try:
                    self._touch(self._path)
                except (OSError, OutputError) as error:
                    self._warn_once(f"{self._path}: {error}: another job may take this one for dead")
            return self.lost is None

    def _beat(self, released: threading.Event) -> None:
        """Beat until the lock is released or lost."""
        while not released.wait(BEAT) and self.check():
            continue

    def _touch(self, path: Path) -> None:
        """Give the lock a new time, or make it again, or find out that another job has it."""
        found = lock_file.touch(path, self.token)
        if found is None:
            if path.parent.is_dir():
                lock_file.create(path, self._record)
        elif found.token == self.token and found.record:
            self._record = found.record  # another process of this job may have joined
        elif found.record:
            self.lost = f"{path.parent}: {found.record} has got the lock; {STOPPED}"
        else:
            lock_file.replace(path, self._record)

    def _warn_once(self, text: str) -> None:
        """Append a warning, unless it is there already or was shown before."""
        if not self._warned:
            self.warnings.append(f"{text} (training continues)")
        self._warned = True


def _remove_leftovers(path: Path) -> None:
    """Remove what jobs have left that died while they took over a lock; path: of the lock, which this job holds."""
    second = re.compile(rf"{re.escape(path.name)}(\.{TOKEN.pattern})+")
    found = [each for each in os.listdir(path.parent) if second.fullmatch(each)]
    for name in found:
        with suppress(OSError):
            path.with_name(name).unlink()
    remove_temporaries(path.parent, [path.name, *found])
