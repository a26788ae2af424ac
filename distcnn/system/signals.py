"""Requests to stop: by a signal from a scheduler or a person, or because the time limit is near."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
INTERRUPTED = 130  # the exit code after Ctrl-C, which shells use, too
REPEAT = 1.0  # seconds in which a second SIGINT is the same Ctrl-C: the terminal sends one, and mpirun forwards one
RESERVE = 60  # seconds, at most, of the time limit that are reserved for saving and ending


def interrupts_exit() -> None:
    """Let Ctrl-C end this process at once, without a word, unless it is handled or ignored already.

    A command does so while it imports modules, as nothing is begun and a traceback would only show where.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def interrupts_raise() -> None:
    """End what `interrupts_exit` has begun: Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _exit(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


class StopRequest:
    """A request to stop, by one of the signals or by a time limit; a second Ctrl-C raises KeyboardInterrupt.

    The time limit requests a stop when the remaining time may be too short for two more intervals between reads of
    `requested`, of the longest interval so far (a step, an evaluation), and for saving.

    max_time: seconds since this process began, or from now on; None for no limit.
    of_process: whether the time counts since this process began.
    """

    def __init__(self, max_time: float | None = None, of_process: bool = True):
        self.signalled = False
        self.longest = 0.0  # seconds between two reads of `requested`
        self.end: float | None = None
        if max_time is not None:
            age = _age() if of_process else 0.0
            self.end = time.monotonic() - age + max_time - min(max_time / 20, RESERVE)
        self._asked: float | None = None
        self._interrupted: float | None = None

    @property
    def requested(self) -> bool:
        """Whether this rank was asked to stop; training reads this once a step."""
        now = time.monotonic()
        self.longest = max(self.longest, now - (self._asked or now))
        self._asked = now
        return self.signalled or (self.end is not None and now + 2 * self.longest > self.end)

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Handle the signals inside the block, and restore their handlers after it.

        Only the main thread can: elsewhere, as in a thread pool of the user's, signals are left alone. So are those
        whose handlers another language has installed, as they could not be restored.
        """
        main = threading.current_thread() is threading.main_thread()
        mine = [number for number in SIGNALS if main and signal.getsignal(number) is not None]
        previous = {number: signal.signal(number, self._handle) for number in mine}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Record that a signal has come; raise KeyboardInterrupt at the second Ctrl-C."""
        self.signalled, now = True, time.monotonic()
        if number == signal.SIGINT:
            if self._interrupted is not None and now - self._interrupted > REPEAT:
                raise KeyboardInterrupt
            self._interrupted = now


def _age() -> float:
    """Return for how many seconds this process has run; 0 on other systems than Linux."""
    try:
        begin = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begin / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
