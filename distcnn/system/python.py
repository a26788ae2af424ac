"""How this package starts Python again: with the same rules on where code may come from."""

from __future__ import annotations

import os
import sys


def python() -> list[str]:
    """Return the words that start this Python with the flags of this process that decide where code comes from.

    A process whose path lacks the working folder gets a child whose path lacks it, too (-P, from Python 3.11 on).
    """
    flags = sys.flags
    if flags.isolated:
        return [sys.executable, "-I", *["-S"] * flags.no_site]
    safe = getattr(flags, "safe_path", False) or not _searches_working_folder()
    chosen = {"-E": flags.ignore_environment, "-s": flags.no_user_site, "-S": flags.no_site}
    chosen["-P"] = safe and sys.version_info >= (3, 11)
    return [sys.executable, *(flag for flag, given in chosen.items() if given)]


def _searches_working_folder() -> bool:
    """Return whether this process imports modules from the working folder."""
    try:
        return bool({"", os.getcwd()} & set(sys.path))
    except OSError:  # the folder is gone
        return "" in sys.path
