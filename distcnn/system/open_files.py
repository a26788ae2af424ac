"""The number of files that this process may have open."""

import errno
import os
from contextlib import suppress

SPARE = 64  # files that are open for other purposes


def allow(more: int) -> None:
    """Raise the limit, as far as the system lets a process do that itself, so that so many more can be opened."""
    try:
        import resource
    except ImportError:  # not on all systems
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _open_now() + more + SPARE if more else 0
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    with suppress(OSError, ValueError):
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def is_limit(error: BaseException) -> bool:
    """Return whether an error says that too many files are open."""
    return getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE)


def _open_now() -> int:
    """Return how many files are open."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0
