"""The terminal that shows a run's output; on Linux also under mpirun, whose ranks write to pipes."""

import os
import stat
from pathlib import Path

LAUNCHERS = {"mpirun", "mpiexec", "mpiexec.hydra", "prterun", "orterun", "prted", "orted"}


def open_terminal(number: int) -> int | None:
    """Return a new file descriptor of the terminal that shows stdout (1) or stderr (2), or None if no terminal does.

    If an MPI launcher is an ancestor of this process, this depends on the launcher's own stream: Open MPI gives its
    ranks pseudo-terminals even when its output goes to a file.
    """
    launcher = _launcher()
    try:
        if os.environ.get("TERM", "dumb") == "dumb" or stat.S_ISREG(os.fstat(number).st_mode):
            return None
        if launcher is None:
            return os.dup(number) if os.isatty(number) else None
        stream = f"/proc/{launcher}/fd/{number}"
        at_terminal = os.readlink(stream).startswith(("/dev/pts/", "/dev/tty"))
        return os.open(stream, os.O_WRONLY | os.O_NOCTTY) if at_terminal else None
    except OSError:
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


def _launcher() -> int | None:
    """Return the process number of the nearest ancestor that is an MPI launcher on this host, or None."""
    process = os.getppid()
    while process > 1:
        try:
            name, fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rsplit(")", 1)
        except (OSError, ValueError):  # not Linux, or the ancestor has ended meanwhile
            return None
        if name.split("(", 1)[1] in LAUNCHERS:
            return process
        process = int(fields.split()[1])
    return None
