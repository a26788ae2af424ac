"""Compare the speed of two checkouts of distcnn: steps, start-up and import, measured alternately.

    git worktree add /tmp/old COMMIT
    python benchmarks/commits.py /tmp/old            # a ratio of 1.02: this checkout is 2 % slower than /tmp/old
    python benchmarks/commits.py /tmp/old --pairs 15 --only resnet20

For steps, each checkout has one process, and both run alternately on the same core. The checkout that is measured first
alternates from pair to pair. A row shows the median and the quartiles, over the pairs, of the ratio new / old.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NEW = Path(__file__).resolve().parents[1]
STEPS = {  # (model, batch size): steps per measurement, about a third of a second
    ("lenet5", 64): 250,
    ("lenet5", 256): 64,
    ("vgg-small", 64): 6,
    ("resnet20", 64): 4,
    ("mlp", 64): 600,
}
LIBRARIES = "OMP", "OPENBLAS", "MKL", "NUMBA"
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}
TRAIN = ("-m", "distcnn.train", "--max-steps", "1", "--progress", "none", "--out")


def environment(checkout: Path | str, **more: str) -> dict[str, str]:
    """Return the environment in which Python uses a checkout."""
    return os.environ | ONE_THREAD | {"PYTHONPATH": str(checkout)} | more


class Stepper:
    """A process that computes training steps with the code of a checkout, on request."""

    def __init__(self, checkout: Path, model: str, batch_size: int) -> None:
        words = [sys.executable, __file__, "--serve", str(checkout), model, str(batch_size)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(words, env=environment(checkout), **pipes)
        self(1)  # wait until it is ready

    def __call__(self, steps: int) -> float:
        """Return the seconds that so many steps take."""
        print(steps, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def end(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def serve(checkout: str, model: str, batch_size: int) -> None:
    """Read numbers from stdin; for each, compute so many steps and print the seconds that they took."""
    sys.path.insert(0, str(Path(checkout, "benchmarks")))
    import work

    step = work.stepping(work.training_on_noise(model, batch_size))
    for line in sys.stdin:
        begin = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - begin, flush=True)


def command(checkout: Path, *words: str, **more: str) -> float:
    """Return the seconds that a Python command takes with the code of a checkout."""
    begin = time.perf_counter()
    variables = environment(checkout, **more)
    subprocess.run([sys.executable, *words], env=variables, check=True, capture_output=True)
    return time.perf_counter() - begin


def cold(checkout: Path) -> float:
    """Return the seconds of a training run of one step with an empty kernel cache."""
    with tempfile.TemporaryDirectory() as folder:
        empty = {"XDG_CACHE_HOME": folder, "NUMBA_CACHE_DIR": ""}
        return command(checkout, *TRAIN, str(Path(folder, "run")), **empty)


def warm(checkout: Path) -> float:
    """Return the seconds of a training run of one step with all kernels in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        return command(checkout, *TRAIN, str(Path(folder, "run")))


def importing(module: str) -> Callable[[Path], float]:
    """Return a function that measures twenty imports of a module, each in a new process."""

    def measured(checkout):
        return sum(command(checkout, "-c", f"import {module}") for _ in range(20))

    return measured


def compare(what: str, old: Callable[[], float], new: Callable[[], float], pairs: int) -> None:
    """Measure both checkouts alternately, and print a row.

    what: the name of the row.
    old, new: functions that measure and return seconds.
    pairs: how many times to measure both.
    """
    ratios, olds = [], []
    for pair in range(pairs):
        if pair % 2:
            first = new()
            olds.append(old())
            ratios.append(first / olds[-1])
        else:
            olds.append(old())
            ratios.append(new() / olds[-1])
    quartiles = statistics.quantiles(ratios, n=4)
    print(
        f"{what:24} {statistics.median(ratios):6.3f} [{quartiles[0]:.3f} {quartiles[2]:.3f}]  "
        f"old {statistics.median(olds) * 1e3:.0f} ms, {pairs} pairs",
        flush=True,
    )


def main() -> None:
    """Measure and print all rows."""
    if sys.argv[1:2] == ["--serve"]:
        return serve(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="the folder of the other checkout")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains TEXT")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for (model, batch_size), steps in STEPS.items():
        what = f"{model} {batch_size}, {steps} steps"
        if options.only in what:
            sides = [Stepper(checkout.resolve(), model, batch_size) for checkout in (options.old, NEW)]
            old, new = (lambda side=side, steps=steps: side(steps) for side in sides)
            compare(what, old, new, options.pairs)
            for side in sides:
                side.end()
    commands = {"first step, cold": cold, "first step, warm": warm}
    commands |= {f"import {module}": importing(module) for module in ("distcnn", "distcnn.train")}
    for what, measured in commands.items():
        if options.only in what:
            old, new = (lambda side=side, measured=measured: measured(side) for side in (options.old, NEW))
            old(), new()
            compare(what, old, new, options.pairs)


if __name__ == "__main__":
    main()
