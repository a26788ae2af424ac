"""The thread of a rank that reads its units, paced by the steps that it computes."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from distcnn.data.stream.images import AHEAD, StreamedImages
from distcnn.data.stream.milestone import Milestone
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
        self._schedules: dict[int, Schedule] = {}
        self._step = Milestone(begin)  # the one that is computed
        self._done = Milestone((epochs.start, -1))  # reads that are done: (epoch, number)
        self._error: Exception | None = None
        self._closed = False
        thread = threading.Thread(target=self._run, args=(epochs, begin), name="reader", daemon=True)
        thread.start()

    def close(self) -> None:
        """Let the thread end. This does not wait for it, as a disk may hang."""
        self._closed = True
        self._step.reach(math.inf)

    def wait(self, epoch: int, step: int) -> Order:
        """Wait until all samples of a step of an epoch are read, and return the order of the epoch.

        Earlier steps must be over: their windows are released.

        Raises the exception that the thread has raised.
        """
        now = epoch * self._length + step
        self._release(now)
        self._step.reach(now)
        schedule = self._schedule(epoch)
        self._wait_for(epoch, schedule.needed(now))
        return schedule.order

    def _schedule(self, epoch: int) -> Schedule:
        """Return the schedule of an epoch, once it is made; forget that of the epoch before."""
        self._wait_for(epoch, 0)
        self._schedules.pop(epoch - 1, None)
        return self._schedules[epoch]

    def _wait_for(self, epoch: int, count: int) -> None:
        """Wait until this number of reads of an epoch are done; raise the exception that the thread has raised."""
        self._done.wait_for((epoch, count))
        if self._error:
            raise self._error

    def windows_of(self, place: int) -> Sequence[LoadedWindow]:
        """Return the windows of the position at a place of the share, from that of the last `wait` on."""
        return self._windows[place]

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
                self._schedules[epoch] = schedule
                self._done.reach((epoch, 0))
                self._read(epoch, schedule)
                if self._closed:
                    return
        except Exception as error:
            self._error = error
            self._done.reach((math.inf, 0))

    def _read(self, epoch: int, schedule: Schedule) -> None:
        """Read what an epoch needs, each burst when its time has come, until the reader is closed."""
        done = 0
        for burst in schedule.bursts():
            self._step.wait_for(burst[0].step)
            for k, read in enumerate(burst, done + AHEAD):
                if self._closed:
                    return
                if self._images.cold and k < len(schedule):
                    self._images.advise(schedule.unit(k))
                self._read_unit(epoch, schedule, read)
            self._images.require_unchanged()
            done += len(burst)
            self._done.reach((epoch, done))

    def _read_unit(self, epoch: int, schedule: Schedule, read: Read) -> None:
        """Read a unit, or a part of it, into its window."""
        window, end = self._window(epoch, schedule, read), read.target + read.last - read.first
        self._images.read_unit(read.unit, read.first, read.last, window.images[read.target : end], False)
        if end == len(window.rows):
            del self._loading[epoch, read.place, read.window]

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
