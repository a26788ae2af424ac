"""Being asked to stop: schedulers and people send signals; training looks at a flag between steps."""

import contextlib
import signal
import time

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
ECHO = (
    1.0  # seconds in which a second Ctrl-C counts as the first: a terminal sends it, and mpirun hands it on
)


class StopRequest:
    """A flag that any of the signals raises, as often as it comes; a second Ctrl-C interrupts at once."""

    def __init__(self):
        self.requested = False
        self._interrupted = None

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
        self.requested, now = True, time.monotonic()
        if number == signal.SIGINT:
            if self._interrupted is not None and now - self._interrupted > ECHO:
                raise KeyboardInterrupt
            self._interrupted = now
