"""Profile a training step on one core: the time of each kernel.

    python benchmarks/kernels.py

The calls of every kernel are counted and timed over whole steps. For this, Python makes the calls one by one, whereas a
real step makes them without Python (distcnn.kernels.program). The row "between kernels" is the time of Python and of
reading the clock, which the times of steps.py do not contain.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

import numpy as np
from rounds import Table, arguments

from distcnn.kernels.jit import Kernel
from distcnn.network import plan

BATCH_SIZE, STEPS = 64, 5
spent = defaultdict(lambda: [0, 0.0])  # kernel: calls, seconds


def timed(compiled: cached_property) -> cached_property:
    """Return a version of the property `Kernel.compiled` whose functions count and time their calls."""

    def get(self):
        call, entry, clock = compiled.func(self), spent[self.name], time.perf_counter

        def run(*arguments):
            begin = clock()
            call(*arguments)
            entry[1] += clock() - begin
            entry[0] += 1

        return run

    made = cached_property(get)
    made.__set_name__(Kernel, "compiled")
    return made


class OneByOne:
    """A replacement for Program that calls each kernel from Python."""

    def __init__(self, calls: Iterable[tuple]) -> None:
        self.calls = list(calls)
        self._calls = [(kernel.compiled, arguments) for kernel, arguments in self.calls]

    def __call__(self, first: int = 0, stop: int | None = None) -> None:
        for call, given in self._calls[first:stop]:
            call(*given)


def main() -> None:
    """Measure, print and save the results."""
    table = Table("kernels", arguments(__doc__), rounds=21)
    Kernel.compiled, plan.Program = timed(Kernel.compiled), OneByOne
    from work import stepping, training_on_noise  # kernels that are made from now on are timed

    for title, model in {"LeNet-5": "lenet5", "vgg-small": "vgg-small"}.items():
        if not table.wants(title):
            continue
        step = stepping(training_on_noise(model, BATCH_SIZE))
        found = [_round(step) for _ in range(table.rounds)]
        whole = np.median([seconds for seconds, _ in found])
        print(f"{title}, batch {BATCH_SIZE}: {1e3 * whole:.3f} ms a step")
        names = found[0][1]
        parts = {name: np.median([each[name][1] for _, each in found]) for name in names}
        for name in sorted(parts, key=parts.get, reverse=True):
            calls = names[name][0] // STEPS
            table.add(f"{title} {name}", parts[name], "s", calls=calls, part=parts[name] / whole)
        rest = whole - sum(parts.values())
        table.add(f"{title} between kernels", rest, "s", part=rest / whole)
    table.save()


def _round(step):
    """Return the seconds of a step, and for each kernel (calls in STEPS steps, seconds per step)."""
    step()
    spent_before = {name: tuple(entry) for name, entry in spent.items()}
    begin = time.perf_counter()
    for _ in range(STEPS):
        step()
    whole = (time.perf_counter() - begin) / STEPS
    parts = {}
    for name, (calls, seconds) in spent.items():
        calls_before, before = spent_before.get(name, (0, 0.0))
        if calls > calls_before:
            parts[name] = calls - calls_before, (seconds - before) / STEPS
    return whole, parts


if __name__ == "__main__":
    main()
