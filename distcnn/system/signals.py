"""Requests to stop: by a signal from a scheduler or a person, or because the time is up; training asks once a step."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
REPEAT = 1.0  # seconds in which a second Ctrl-C is the first: a terminal sends it, and mpirun forwards it
RESERVE = 60  # seconds at most, of the time that there is, for saving and ending


class StopRequest:
    """Whether to stop: after any of the signals, however often it comes; a second Ctrl-C interrupts at once.

    It also becomes true when so little of `max_time`, in seconds since this process began, is left that the longest
    time between two questions so far (a step, an evaluation) might pass twice before all is saved.
    """

    def __init__(self, max_time: float | None = None):
        self.signalled = False
        self.longest = 0.0  # seconds between two questions
        self.end: float | None = None
        if max_time is not None:
            self.end = time.monotonic() - _age() + max_time - min(max_time / 20, RESERVE)
        self._asked: float | None = None
        self._interrupted: float | None = None

    @property
    def requested(self) -> bool:
        """Whether to stop, as seen by this rank; to be read once a step."""
        now = time.monotonic()
        self.longest = max(self.longest, now - (self._asked or now))
        self._asked = now
        return self.signalled or (self.end is not None and now + 2 * self.longest > self.end)

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle the signals inside the block, and restore their handlers after it."""
        previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Remember that a signal came; raise KeyboardInterrupt at the second Ctrl-C."""
        self.signalled, now = True, time.monotonic()
        if number == signal.SIGINT:
            if self._interrupted is not None and now - self._interrupted > REPEAT:
                raise KeyboardInterrupt
            self._interrupted = now


def _age() -> float:
    """Return for how many seconds this process has run, as Linux knows it; elsewhere 0."""
    try:
        begin = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begin / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
