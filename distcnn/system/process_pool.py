"""Call a function for many items in several processes, which end with this one, however it ends.

A process that crashes costs one item: its result is a `Crashed`, and another process takes its place. The processes
ignore Ctrl-C and are killed by the one that started them; if that one is killed itself, they read the end of their
sockets and stop.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from distcnn.system.python import python

CODE = (
    "import sys; sys.path[:] = sys.argv[4:]; from distcnn.system.process_pool import serve; "
    "serve(int(sys.argv[1]), sys.argv[2], sys.argv[3])"
)
AHEAD = 2  # items for each process that are worked on, or done, while an earlier one is not
SECONDS = 60  # of processor time that an item may take
PAUSE = 0.02  # seconds after which a process sends what it has: one message an item would cost a third of a small image


@dataclass(frozen=True)
class Crashed:
    """Stands for the result of an item on which a process has crashed; signal: its name, such as SIGSEGV."""

    signal: str


def cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def in_processes(
    function: Callable[[Any], Any], batches: Iterable[list[Any] | None], count: int
) -> Iterator[tuple[Any, Any]]:
    """Yield (item, result) for every item of the batches, in an undefined order.

    function: of a module, with one argument; what it raises ends the process, as a crash does.
    batches: lists of items, each of which one process gets at once; one is asked for ahead, while all processes work,
        so that memory holds few of them. None in place of a list: ask again after the next results.
    count: the number of processes.
    """
    left, workers = iter(batches), []
    ahead = next(left, None)
    try:
        while len(workers) < count and ahead is not None:
            workers.append(_Worker(function, ahead))
            ahead = next(left, None)
        busy = list(workers)
        while busy:
            ready = set(wait([worker.connection for worker in busy]))
            for worker in [each for each in busy if each.connection in ready]:
                found = worker.receive()
                ahead = worker.feed(ahead)  # first, so that it does not wait until the results are used
                yield from found
            for worker in workers:
                ahead = worker.feed(ahead or next(left, None))
            ahead = ahead or next(left, None)
            busy = [worker for worker in workers if not worker.is_idle]
    finally:
        for worker in workers:
            worker.end()


def in_order(function: Callable[[Any], Any], items: Iterable[Any], count: int) -> Iterator[Any]:
    """Yield function(item) for all items, in their order; few of them and of their results are in memory.

    The arguments are those of `in_processes`, but for items in place of batches; count 0: this process does it all.
    """
    if not count:
        yield from map(function, items)
        return
    awaited, results = 0, {}

    def batches() -> Iterator[list[Any] | None]:
        for number, item in enumerate(items):
            while number >= awaited + AHEAD * count:
                yield None  # not now: the result that is awaited is still missing
            yield [_Numbered(number, function, item)]

    for item, result in in_processes(_call, batches(), count):
        results[item.number] = result
        while awaited in results:
            found = results.pop(awaited)
            awaited += 1
            yield found


class _Numbered(NamedTuple):
    """A call of a function, and its number."""

    number: int
    function: Callable[[Any], Any]
    item: Any


def _call(numbered: _Numbered) -> Any:
    return numbered.function(numbered.item)


class _Worker:
    """A process that works on a batch of items."""

    def __init__(self, function: Callable[[Any], Any], batch: list[Any]) -> None:
        self._words = function.__module__, function.__qualname__
        self._sent: deque[Any] = deque()  # items that the process has, and has not answered
        self._suspects: deque[Any] = (
            deque()
        )  # items on one of which a process has crashed, to be sent one by one
        self._start()
        self.give(batch)

    @property
    def is_idle(self) -> bool:
        """Whether the process has nothing to do."""
        return not self._sent

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            words = [*python(), "-c", CODE, str(theirs.fileno()), *self._words, *sys.path]
            null, passed = subprocess.DEVNULL, [theirs.fileno()]
            self._process = subprocess.Popen(words, pass_fds=passed, stdin=null, stdout=null, stderr=null)
        self.connection = Connection(ours.detach())

    def feed(self, batch: list[Any] | None) -> list[Any] | None:
        """Give a batch to the process if it has nothing to do; return what is left of it: the whole batch, or None."""
        if batch is None or not self.is_idle:
            return batch
        self.give(batch)
        return None

    def give(self, items: list[Any]) -> None:
        """Give items to the process."""
        self._sent.extend(items)
        with suppress(OSError):  # it is dead, which `receive` finds
            self.connection.send(items)

    def receive(self) -> list[tuple[Any, Any]]:
        """Return (item, result) for what the process has answered, or for the item on which it has crashed."""
        try:
            results = self.connection.recv()
        except (EOFError, OSError):
            results = self._restart()
        found = [(self._sent.popleft(), result) for result in results]
        if not self._sent and self._suspects:
            self.give([self._suspects.popleft()])
        return found

    def _restart(self) -> list[Crashed]:
        """Start another process in place of one that is dead; return the result of the item that has killed it."""
        code = self._process.wait()
        if code >= 0:
            raise RuntimeError(f"a process of {'.'.join(self._words)} has ended with exit code {code}")
        self.end()
        self._start()
        if len(self._sent) == 1:
            return [Crashed(signal.Signals(-code).name)]
        self._suspects.extend(self._sent)
        self._sent.clear()
        return []

    def end(self) -> None:
        """Kill the process and wait for its end."""
        self.connection.close()
        self._process.kill()
        self._process.wait()


def serve(descriptor: int, module: str, name: str) -> None:
    """Answer lists of items with lists of the results of a function, until the socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    function, connection = getattr(import_module(module), name), Connection(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            results, begin = [], time.monotonic()
            for item in connection.recv():
                _limit_time()
                results.append(function(item))
                if time.monotonic() - begin > PAUSE:
                    connection.send(results)
                    results, begin = [], time.monotonic()
            if results:
                connection.send(results)


def _limit_time() -> None:
    """Let the system kill this process, by SIGXCPU, if the next item takes more than SECONDS."""
    try:
        import resource
    except ImportError:  # not a Unix system
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + SECONDS + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard)
    )  # below 0: no limit
