"""What each command does first, before it imports NumPy, Numba and MPI, which take a second."""

from __future__ import annotations

from collections.abc import Sequence

from distcnn.config.versions import answer_version
from distcnn.system.signals import interrupts_exit


def begin(argv: Sequence[str]) -> None:
    """Let Ctrl-C end the command without a traceback, and answer --version."""
    interrupts_exit()
    answer_version(argv)
