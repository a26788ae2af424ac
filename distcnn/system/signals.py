"""Being asked to stop: schedulers and people send signals, or the time is up; training looks between steps."""

import contextlib
import os
import signal
import time
from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
ECHO = 1.0  # seconds in which a second Ctrl-C is the first: a terminal sends it, and mpirun hands it on
RESERVE = 60  # seconds at most, of the time that we have, for saving and leaving


class StopRequest:
    """A flag that any of the signals raises, as often as it comes; a second Ctrl-C interrupts at once.

    It also rises when of `max_time`, in seconds since this process began, so little is left that the longest
    time between two looks so far (a step, an evaluation) might pass twice before all is saved.
    """

    def __init__(self, max_time=None):
        self.signalled, self._interrupted = False, None
        self.looked, self.longest = None, 0.0
        self.end = None
        if max_time is not None:
            self.end = time.monotonic() - _age() + max_time - min(max_time / 20, RESERVE)

    @property
    def requested(self):
        """Whether to stop, as seen by this rank; to be looked at once a step."""
        now = time.monotonic()
        self.longest = max(self.longest, now - (self.looked or now))
        self.looked = now
        return self.signalled or (self.end is not None and now + 2 * self.longest > self.end)

    @contextlib.contextmanager
    def listening(self):
        """Take note of signals inside the block, and put back what handled them before."""
        previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note(self, number, frame):
        self.signalled, now = True, time.monotonic()
        if number == signal.SIGINT:
            if self._interrupted is not None and now - self._interrupted > ECHO:
                raise KeyboardInterrupt
            self._interrupted = now


def _age():
    """Return for how many seconds this process has run; 0 where that cannot be told."""
    try:
        begin = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begin / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
