"""The record in a lock file: the processes of the job that holds a run's folder, and since when."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from distcnn.system import processes
from distcnn.system.processes import Process, is_alive

LIMIT = 4 << 20  # bytes: a record of 20,000 ranks
TOKEN = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Record:
    """What a lock file holds.

    token: the random name of the holder, 16 hexadecimal digits.
    since: the time at which it got the lock, as text.
    launcher: the process that starts the holder's jobs, if it has a launcher.
    processes: those that may write to the folder: rank 0, or all ranks where another may become rank 0.
    """

    token: str
    since: str
    launcher: Process | None = None
    processes: tuple[Process, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        launcher = self.launcher and self.launcher._asdict()
        processes = [each._asdict() for each in self.processes]
        return json.dumps(asdict(self) | {"launcher": launcher, "processes": processes}).encode()

    @property
    def holders(self) -> Iterator[Process]:
        """All processes of the holder, the one that answers signals for all first."""
        yield from filter(None, [self.launcher])
        yield from self.processes

    def is_alive(self) -> bool | None:
        """Return whether a process of the holder runs; None if it has processes that are not seen from here."""
        found = [is_alive(each) for each in self.holders]
        return True if True in found else None if None in found else False

    @property
    def is_orphan(self) -> bool:
        """Whether the launcher of the holder has died: then its processes are about to end."""
        return self.launcher is not None and is_alive(self.launcher) is False

    def __str__(self) -> str:
        """Name the holder: the first of its processes of which it is not known that it has ended."""
        named = next((each for each in self.holders if is_alive(each) is not False), next(self.holders))
        return f"process {named.pid} on {named.host} since {self.since}"


def parse(content: bytes) -> Record | None:
    """Return the record in a lock file's content, or None if it is damaged."""
    try:
        fields: Any = json.loads(content) if len(content) <= LIMIT else None
        launcher = fields["launcher"] and processes.parse(fields["launcher"])
        others = tuple(map(processes.parse, fields["processes"]))
        record = Record(str(fields["token"]), str(fields["since"])[:40], launcher or None, others)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return record if TOKEN.fullmatch(record.token) and (launcher or others) else None
