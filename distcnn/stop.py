"""Being asked to stop: schedulers and people send signals; training looks at a flag between steps."""

import contextlib
import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopRequest:
    """A flag that the first signal raises; a second of the same kind has its usual effect."""

    def __init__(self):
        self.requested = False

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
        self.requested = True
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
