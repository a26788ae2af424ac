"""The terminal that shows a process's output; on Linux also under mpirun, whose ranks write to pipes.

Lines and the progress bar are written directly to the terminal: through mpirun's pipes, lines arrive late and in
pieces, between which the bar would be drawn, and mpirun may lose what was written just before the job ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LAUNCHERS = {"mpirun", "mpiexec", "mpiexec.hydra", "prterun", "orterun", "prted", "orted"}
PROXY = "hydra_pmi_proxy"  # MPICH's, between mpirun and its ranks
# Options of launchers that write the ranks' output elsewhere, or change it:
REDIRECTS = re.compile(
    r"--?(l|xml|(out|err)file-pattern|prepend-\w+|(tag|timestamp)-output\S*|output\S*|merge-stderr\S*)"
)
NOWHERE = os.devnull
PATIENCE = 2  # seconds that a text waits for a terminal that takes no more
PAUSE = 0.001  # seconds between two attempts to lock a terminal
FLAGS = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK  # Ctrl-S stops the terminal, but not training

_STOPPED: list[bool] = []  # not empty after a text that a terminal has not taken


def open_terminal(number: int) -> int | None:
    """Return a new file descriptor of the terminal that shows stdout (1) or stderr (2), or None if no terminal does.

    If an MPI launcher is an ancestor of this process, this depends on the launcher's own stream: Open MPI gives its
    ranks pseudo-terminals even when its output goes to a file.
    """
    if os.environ.get("TERM", "dumb") == "dumb":
        return None
    try:
        path = _shown_by(number)
        if not stat.S_ISCHR(os.stat(path).st_mode):
            return None
        terminal = _open(path, number)
    except OSError:
        return None
    if os.isatty(terminal):
        return terminal
    os.close(terminal)
    return None


def columns(number: int) -> int | None:
    """Return the width of the terminal that shows stdout (1) or stderr (2), or None if no terminal does."""
    terminal = open_terminal(number)
    if terminal is None:
        return None
    try:
        return os.get_terminal_size(terminal).columns or 80  # 0: its size is not set
    finally:
        os.close(terminal)


def is_read_elsewhere(number: int) -> bool:
    """Return whether another process reads stdout (1) or stderr (2): it may show it on the terminal, as `tee` does."""
    try:
        mode = os.stat(_shown_by(number)).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def write(terminal: int, text: bytes) -> bytes:
    """Write to a terminal without waiting, unless a text of another process is being written; return the rest."""
    with _locked(terminal, 0) as alone:
        return _write(terminal, text) if alone else text


def write_whole(terminal: int, text: bytes) -> bytes:
    """Write a text, which no other process's text divides; return the rest, which the terminal has not taken.

    A terminal that is slow is waited for, because a text that goes another way would arrive among later ones. One that
    was stopped by Ctrl-S delays only the first text: until it takes one again, it is not waited for.
    """
    end = time.monotonic() + (0 if _STOPPED else PATIENCE)
    with _locked(terminal, end) as alone:
        text = _write(terminal, text) if alone else text
        while alone and text and _is_writable(terminal, end):
            text = _write(terminal, text)
    _STOPPED[:] = [True] * bool(text)
    return text


def _write(terminal: int, text: bytes) -> bytes:
    """Write as much as a terminal takes now, and return the rest."""
    try:
        return text[os.write(terminal, text) :]
    except BlockingIOError:
        return text
    except OSError:  # the terminal was closed
        return b""


@contextmanager
def _locked(terminal: int, end: float) -> Iterator[bool]:
    """Lock a terminal inside the block; yield whether that was possible before a time of time.monotonic()."""
    alone = _lock(terminal, end)
    try:
        yield alone
    finally:
        if alone:
            with suppress(OSError):
                fcntl.flock(terminal, fcntl.LOCK_UN)


def _lock(terminal: int, end: float) -> bool:
    """Lock a terminal; return whether that was possible before a time of time.monotonic()."""
    while True:
        try:
            fcntl.flock(terminal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
        except OSError:  # a terminal that cannot be locked
            return True
        time.sleep(PAUSE)


def _is_writable(terminal: int, end: float) -> bool:
    """Wait until a terminal takes more; return whether it does before a time of time.monotonic()."""
    return bool(select.select([], [terminal], [], max(0, end - time.monotonic()))[1])


def _open(path: str, number: int) -> int:
    """Open a stream anew, or return a duplicate of this process's where that is not allowed, as after `su`."""
    try:
        return os.open(path, FLAGS)
    except PermissionError:
        if path != _own(number):
            raise
        return os.dup(number)


def _own(number: int) -> str:
    return f"/dev/fd/{number}"


def _shown_by(number: int) -> str:
    """Return the path of the stream that shows this process's stdout (1) or stderr (2).

    It is the launcher's, if this process writes to what the launcher has given to its rank, not to a file or a pipe of
    its own.
    """
    own, found = _own(number), _launcher()
    if found is None:
        return own
    launcher, rank = found
    for each in (number, 3 - number):  # 3 - number: after 2>&1 or the like
        if os.path.samefile(own, f"/proc/{rank}/fd/{each}"):
            return NOWHERE if _redirects(launcher) else f"/proc/{launcher}/fd/{each}"
    return own


def _launcher() -> tuple[int, int] | None:
    """Return the nearest ancestor that is an MPI launcher on this host, and its rank above this process; None without.

    Both are process numbers. The rank is this process, or an ancestor of it, such as a shell.
    """
    below, rank = os.getpid(), None
    for process, name in _ancestors():
        if rank is None and name in LAUNCHERS | {PROXY}:
            rank = below
        if rank is not None and name in LAUNCHERS:
            return process, rank
        below = process
    return None


def _ancestors() -> Iterator[tuple[int, str]]:
    """Yield number and name of each ancestor of this process, as far as they are known."""
    process = os.getppid()
    while process > 1:
        try:
            name, fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rsplit(")", 1)
        except (OSError, ValueError):  # not Linux, or the ancestor has ended meanwhile
            return
        yield process, name.split("(", 1)[1]
        process = int(fields.split()[1])


def _redirects(launcher: int) -> bool:
    """Return whether a launcher was told to write its ranks' output elsewhere or in another form."""
    words = Path(f"/proc/{launcher}/cmdline").read_text(errors="replace").split("\0")
    return any(REDIRECTS.fullmatch(word) for word in words)
