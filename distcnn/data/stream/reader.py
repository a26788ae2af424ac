"""The thread of a rank that reads its units, paced by the steps that it computes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distcnn.data.stream.images import AHEAD, StreamedImages
from distcnn.data.stream.order import Order
from distcnn.data.stream.schedule import Read, Schedule, Turn
from distcnn.kernels.float_mode import in_ieee_mode

Key = tuple[int, int, int]  # epoch, place of the position in the share, number of the window


@dataclass(frozen=True)
class LoadedWindow:
    """A window whose samples are being read, or were read.

    turn: the steps that use it.
    begin, end: it has places [begin, end) of the epoch's line of samples.
    images: [rows or more, c, h, w], in the order of the file's units.
    rows: the row of each place in `images`, int64 [end - begin].
    samples: the number of the sample at each place, int64 [end - begin].
    """

    turn: Turn
    begin: int
    end: int
    images: np.ndarray
    rows: np.ndarray
    samples: np.ndarray


class Reader:
    """Reads the units of a rank in a thread of its own, which ends by `close` or after the last epoch.

    images: the split.
    order_of: order_of(epoch) returns the order of an epoch.
    share: the positions of the rank.
    length: the number of steps of an epoch.
    epochs: the epochs to read, from the first one on.
    begin: the first step that is computed, counted over all epochs.
    """

    def __init__(
        self,
        images: StreamedImages,
        order_of: Callable[[int], Order],
        share: range,
        length: int,
        epochs: range,
        begin: int,
    ):
        self._images, self._order_of, self._share, self._length = images, order_of, share, length
        self._windows: list[deque[LoadedWindow]] = [deque() for _ in share]  # not yet released
        self._loading: dict[Key, LoadedWindow] = {}  # windows of which reads are missing
        self._free: list[np.ndarray] = []  # buffers of windows that were released
        self._changed = threading.Condition()
        self._step, self._done = begin, (epochs.start, -1)  # reads that are done: (epoch, number)
        self._schedules: dict[int, Schedule] = {}
        self._error: Exception | None = None
        self._closed = False
        thread = threading.Thread(target=self._run, args=(epochs, begin), name="reader", daemon=True)
        thread.start()

    def close(self) -> None:
        """Let the thread end. This does not wait for it, as a disk may hang."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, epoch: int, step: int) -> Order:
        """Wait until all samples of a step of an epoch are read, and return the order of the epoch.

        Earlier steps must be over: their windows are released.

        Raises the exception that the thread has raised.
        """
        now = epoch * self._length + step
        self._release(now)
        with self._changed:
            self._step = now
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._error or self._done >= (epoch, 0))
            if not self._error:
                needed = epoch, self._schedules[epoch].needed(now)
                self._changed.wait_for(lambda: self._error or self._done >= needed)
            if self._error:
                raise self._error
            self._schedules = {each: known for each, known in self._schedules.items() if each >= epoch}
            return self._schedules[epoch].order

    def windows_of(self, place: int) -> tuple[LoadedWindow, ...]:
        """Return the windows of the position at a place of the share, from that of the last `wait` on."""
        return tuple(self._windows[place])

    def _release(self, step: int) -> None:
        """Keep the buffers of the windows that no step from this one on uses, for other windows."""
        for windows in self._windows:
            while windows and windows[0].turn.last < step:
                self._free.append(windows.popleft().images)

    @in_ieee_mode  # as orders are computed and numbers converted
    def _run(self, epochs: range, begin: int) -> None:
        try:
            turns: list[list[Turn]] = []
            for epoch in epochs:
                schedule = Schedule(self._order_of(epoch), self._share, epoch * self._length, begin, turns)
                turns = schedule.turns
                with self._changed:
                    self._schedules[epoch] = schedule
                self._report((epoch, 0))
                if not all(self._read(epoch, schedule, k) for k in range(len(schedule))):
                    return
        except Exception as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _report(self, done: tuple[int, int]) -> None:
        with self._changed:
            self._done = done
            self._changed.notify_all()

    def _read(self, epoch: int, schedule: Schedule, k: int) -> bool:
        """Do the k-th read of an epoch when its time has come; return False if the reader was closed."""
        read = schedule[k]
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._step >= read.step)
            if self._closed:
                return False
        if k + AHEAD < len(schedule):
            self._images.advise(schedule[k + AHEAD].unit)
        window = self._window(epoch, schedule, read)
        end = read.target + read.last - read.first
        self._images.read_unit(read.unit, read.first, read.last, window.images[read.target : end])
        if end == len(window.rows):
            del self._loading[epoch, read.place, read.window]
        self._report((epoch, k + 1))
        return True

    def _window(self, epoch: int, schedule: Schedule, read: Read) -> LoadedWindow:
        """Return the window of a read; its first read begins the window."""
        key = epoch, read.place, read.window
        if key not in self._loading:
            order, window = schedule.order, schedule.windows[read.place][read.window]
            rows = order.shuffled(self._share[read.place], window)
            samples = order.numbers(window)[rows]
            images = self._buffer(len(rows), schedule.largest)
            turn = schedule.turns[read.place][read.window]
            self._loading[key] = LoadedWindow(turn, window.begin, window.end, images, rows, samples)
            self._windows[read.place].append(self._loading[key])
        return self._loading[key]

    def _buffer(self, rows: int, most: int) -> np.ndarray:
        """Return a buffer of at least `rows` images; most: as many as windows of this epoch need."""
        while self._free:
            found = self._free.pop()
            if len(found) >= rows:
                return found
        # Pages that are never written to take no memory, so later epochs with slightly larger windows cost nothing.
        return np.empty((most + self._images.units.largest, *self._images.shape[1:]), self._images.dtype)
