"""Whether the holder of a lock lives: by its processes on this machine, by its heartbeat elsewhere.

No two clocks are compared: who waits looks whether the lock changes, over a period by its own clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from distcnn.errors import FolderInUse
from distcnn.run import lock_file
from distcnn.run.lock_file import Found
from distcnn.run.lock_record import Record
from distcnn.system.terminal_text import warn

BEAT = 5.0  # seconds between two heartbeats
PATIENCE = 30.0  # seconds without a heartbeat after which a holder is dead; network file systems show it seconds late
LOOK = 0.5  # seconds between two looks at a lock
WAITS = 3  # how often, at most, this waits for a heartbeat: each time another job may have got the lock

REMEDY = "wait for its end, stop it, or choose another --out"


class HolderCheck:
    """Checks the holders of one folder's lock.

    folder: the run's folder, for messages.
    pause: waits for so many seconds; it may raise an exception to end the wait for a heartbeat.
    """

    def __init__(self, folder: str | os.PathLike, pause: Callable[[float], None]):
        self._folder, self._pause, self._waits = folder, pause, 0
        self._dead: set[tuple] = set()  # traces of locks that had no heartbeat

    def require_dead(self, path: Path, found: Found) -> None:
        """Raise FolderInUse unless the holder of a lock is dead, or no longer has it.

        path: of the lock.
        found: what was there.
        """
        who = f"{self._folder}: in use by {found.record or 'a job whose ' + path.name + ' is damaged'}"
        alive = found.record.is_alive() if found.record else None
        if alive is None and found.trace not in self._dead:
            alive = self._waits == WAITS or self._beats(path, found, who)
        elif found.record and found.record.is_orphan:
            alive = alive and self._outlives(found.record, who)
        if alive:
            raise FolderInUse(f"{who}: {REMEDY}")

    def _beats(self, path: Path, found: Found, who: str) -> bool:
        """Wait for a heartbeat of the holder; return whether there is one. who: the beginning of messages."""
        warn(f"{who}, which cannot be seen from here: waiting up to {PATIENCE:g} s for its heartbeat")
        self._waits += 1
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self._pause(LOOK)
            now = lock_file.read(path)
            if now is None or _is_of_another(now, found):  # released, or taken over
                return False
            if now.trace != found.trace:
                return True
        self._dead.add(found.trace)
        warn(f"{who}, which had no heartbeat for {PATIENCE:g} s and is dead: this job takes its place")
        return False

    def _outlives(self, record: Record, who: str) -> bool:
        """Wait for the end of a job whose launcher has died; return whether it lives on."""
        warn(f"{who}, whose launcher has died: waiting up to {PATIENCE:g} s for its end")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and record.is_alive():
            self._pause(LOOK)
        return record.is_alive() is not False


def _is_of_another(now: Found, before: Found) -> bool:
    """Return whether a lock has another holder than before."""
    return now.record is not None and now.token != before.token
