"""A progress bar on the terminal that shows stderr, also under mpirun, whose ranks write to pipes."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from distcnn.system import terminal

STDERR = 2


class Bar:
    """A progress bar over images; without a terminal it shows nothing.

    title: what is done to the images.
    total: the number of images.
    shown: False on ranks that show nothing.
    """

    def __init__(self, title: str, total: int, shown: bool = True) -> None:
        self._screen = _Screen.open() if shown else None
        self._bar: Any = None
        if self._screen:
            from tqdm import tqdm

            columns = terminal.columns(STDERR)
            self._bar = tqdm(
                desc=title, total=total, unit=" images", leave=False, file=self._screen, ncols=columns
            )

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None and self._screen:
            self._bar.close()
            os.close(self._screen.descriptor)

    def advance(self, count: int) -> None:
        """Count some images more."""
        if self._bar is not None:
            self._bar.update(count)


class _Screen:
    """A terminal as a file to write to; it never waits for a terminal that was stopped."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls) -> _Screen | None:
        """Return the terminal that shows stderr, or None."""
        descriptor = terminal.open_terminal(STDERR)
        return None if descriptor is None else cls(descriptor)

    def write(self, text: str) -> None:
        """Write a text; what the terminal does not take at once is lost."""
        terminal.write(self.descriptor, text.encode())

    def flush(self) -> None:
        """Do nothing: nothing is held back."""
