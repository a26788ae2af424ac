"""A number on which two threads agree: one raises it, the other one waits for it."""

from __future__ import annotations

import threading
from typing import Any


class Milestone:
    """A value that one thread raises, and which another one waits for.

    The one that waits is not woken before the value is as high as it needs, because each change of threads costs time.

    value: numbers, or tuples of numbers.
    """

    def __init__(self, value: Any):
        self.value = value
        self._wanted: Any = None
        self._raised = threading.Condition()

    def reach(self, value: Any) -> None:
        """Raise the value."""
        with self._raised:
            self.value = value
            if self._wanted is not None and value >= self._wanted:
                self._raised.notify_all()

    def wait_for(self, value: Any) -> None:
        """Wait until the value is as high as this one."""
        if self.value >= value:
            return
        with self._raised:
            self._wanted = value
            self._raised.wait_for(lambda: self.value >= value)
            self._wanted = None
