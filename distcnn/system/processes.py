"""The identity of processes: the same number elsewhere, or after a while, is another process.

A process is known by its machine's name and boot, its namespaces, its number and the time at which it started. In
another container, on another host and after a restart of the host the same number means nothing.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

UNKNOWN = -1  # the start of a process on a system without /proc, or whose /proc shows other namespaces
ENDED = "ZX"  # states in which a process executes nothing any more: zombie, dead


class Process(NamedTuple):
    """What tells a process from all others.

    host: the name of the machine.
    boot: the random name that Linux gives to a boot of the machine.
    namespaces: those in which number and start hold; containers have their own.
    pid: the process number.
    start: when it started, in clock ticks since the boot; UNKNOWN if that cannot be seen.
    """

    host: str
    boot: str
    namespaces: str
    pid: int
    start: int


def this_process() -> Process:
    """Return the identity of this process."""
    found = _state("self")
    visible = found is not None and found[0] == os.getpid()  # else /proc is that of other namespaces
    start = found[2] if found and visible else UNKNOWN
    return Process(socket.gethostname(), _boot(), _namespaces(), os.getpid(), start)


def parse(fields: dict) -> Process:
    """Return the Process of which a file holds the fields; raise ValueError, TypeError or KeyError if it holds none."""
    pid, start = fields["pid"], fields["start"]
    if type(pid) is not int or type(start) is not int or not 0 < pid < 2**31:
        raise ValueError("not a process")
    host, boot, namespaces = (str(fields[key])[:255] for key in ("host", "boot", "namespaces"))
    return Process(host, boot, namespaces, pid, start)


def is_alive(process: Process) -> bool | None:
    """Return whether a process runs; None if that cannot be seen from here, such as on another host."""
    here = this_process()
    if UNKNOWN in (here.start, process.start) or process[:3] != here[:3]:
        return None
    found = _state(process.pid)
    if found is None:
        return None if _exists(process.pid) else False  # None: the system hides other users' processes
    _, state, start = found
    return start == process.start and state not in ENDED


def _state(pid: int | str) -> tuple[int, str, int] | None:
    """Return (number, state, start) of a process, or None if /proc does not show it."""
    try:
        head, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
        fields = rest.split()
        return int(head.split()[0]), fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _exists(pid: int) -> bool:
    """Return whether there is a process of this number, whoever it belongs to."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    """Return the name of this boot of the machine, or an empty string."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespaces() -> str:
    """Return the names of this process's namespaces of process numbers and of time, as far as the system has them."""
    found = []
    for kind in ("pid", "time"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/ns/{kind}"))
    return " ".join(found)
