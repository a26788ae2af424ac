"""Measure the cost of safety, as fractions of LeNet-5 steps: the guard, heartbeats, replica checks and checkpoints.

    python benchmarks/safety.py

The cost of the guard of exact sums is the time that kernels save if they are compiled without its test. The cost of a
comparison of replicas does not include messages. Steps with and without a checkpoint are measured alternately:
processor time includes that of the thread that writes, elapsed time is what training waits for. The row "all together"
includes the processor time of a checkpoint.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from exact import adding_calls
from numba import njit
from rounds import TOGETHER, Table, arguments
from work import stepping, training_on_noise

from distcnn.lanes import LANES
from distcnn.lanes.sums import Guard
from distcnn.parallel.heartbeat import COMPUTING, WAITING
from distcnn.resilience.replica_check import Copy
from distcnn.run.checkpoint_writer import CheckpointWriter
from distcnn.run.state import digest
from distcnn.system.signals import StopRequest

if TYPE_CHECKING:
    from distcnn.kernels.jit import Kernel

STEPS, BATCH_SIZE = 100, 64


def seconds(call: Callable) -> tuple[float, float]:
    """Return the elapsed time and the processor time of a call."""
    elapsed, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - elapsed, time.process_time() - used


def unguarded(kernel: Kernel, given: tuple, sums: list) -> tuple[Callable, tuple]:
    """Return (function, arguments) of a kernel, compiled so that it adds values to sums without testing their range."""
    convert = Guard.convert
    Guard.convert = lambda guard, values, add: add([guard._converted(each, usual=True) for each in values])
    try:
        compiled = njit(kernel.signature, nogil=True, error_model="numpy")(kernel.function)
        return compiled.overloads[kernel.signature.args].entry_point, given
    finally:
        Guard.convert = convert


def repeated(calls: list[tuple]) -> Callable[[], None]:
    """Return a function that makes the calls of a block as many times as `STEPS` steps make them."""

    def run():
        for _ in range(STEPS * BATCH_SIZE // LANES):
            for function, given in calls:
                function(*given)

    return run


def main() -> None:
    """Measure, print and save the results."""
    table = Table("safety", arguments(__doc__), rounds=21)
    trainer, request = training_on_noise("lenet5", BATCH_SIZE), StopRequest(1e9)
    step, (guarded, bare) = stepping(trainer), map(repeated, adding_calls(trainer.net, unguarded))

    def steps():
        for _ in range(STEPS):
            step()

    def heartbeats():
        for _ in range(STEPS):
            _ = request.requested
            trainer.heartbeat.beat(COMPUTING, trainer.steps)
            trainer.heartbeat.beat(WAITING)
            trainer.heartbeat.beat(COMPUTING)

    def compare():
        arrays = trainer.arrays
        Copy(trainer.progress, [array.copy() for array in arrays], digest(*arrays))

    def saving():
        writer.save(trainer.state())
        steps()

    steps()
    with tempfile.TemporaryDirectory() as folder:
        writer = CheckpointWriter(Path(folder), last=3)
        calls = steps, guarded, bare, heartbeats, compare, saving
        found = np.array([[seconds(call) for call in calls] for _ in range(table.rounds)])
        writer.close()
    plain, guarded_, bare_, heartbeats_, compare_, with_one = found.transpose(1, 2, 0)
    whole, used = np.median(plain, axis=1)
    parts = {
        "the guard of exact sums": np.median(guarded_[1] - bare_[1]) / used,
        f"heartbeats, {STEPS} steps": np.median(heartbeats_[0]) / whole,
        f"a comparison in {STEPS} steps": np.median(compare_[0]) / whole,
        f"a checkpoint in {STEPS} steps, processor": np.median(with_one[1] - plain[1]) / used,
    }
    rows = parts | {
        f"a checkpoint in {STEPS} steps, elapsed": np.median(with_one[0] - plain[0]) / whole,
        TOGETHER: sum(parts.values()),
    }
    print(f"{STEPS} steps of LeNet-5, batch {BATCH_SIZE}: {1e3 * whole:.1f} ms")
    for what, part in rows.items():
        table.add(what, part * whole, "s", part=part)
    table.save()


if __name__ == "__main__":
    main()
