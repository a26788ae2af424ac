"""What it costs that nothing is lost: the watch, comparisons of replicas and checkpoints, as parts of LeNet-5 steps.

    python benchmarks/safety.py

A comparison is counted without its messages. Steps with and without a checkpoint take turns: processor time counts
what the writing thread uses, too, elapsed time what training had to wait for. The guard of exact sums is in exact.py.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from rounds import Table, arguments
from work import stepping, training_on_noise

from distcnn.parallel.watch import COMPUTING, WAITING
from distcnn.replicas import Copy
from distcnn.report.archive import Archive
from distcnn.state import digest

STEPS, BATCH_SIZE = 100, 64


def seconds(call):
    """Return elapsed and processor time of a call."""
    elapsed, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - elapsed, time.process_time() - used


def main():
    """Measure, print and keep."""
    table = Table("safety", arguments(__doc__), rounds=21)
    training = training_on_noise("lenet5", BATCH_SIZE)
    step = stepping(training)

    def steps():
        for _ in range(STEPS):
            step()

    def notes():
        for _ in range(STEPS):
            training.watch.note(COMPUTING, training.steps)
            training.watch.note(WAITING)
            training.watch.note(COMPUTING)

    def compare():
        arrays = training.arrays
        Copy(training.standing, [array.copy() for array in arrays], digest(*arrays))

    def saving():
        archive.save(training.state())
        steps()

    steps()
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder), keep=3)
        calls = steps, notes, compare, saving
        found = np.array([[seconds(call) for call in calls] for _ in range(table.rounds)])
        archive.close()
    plain, notes_, compare_, with_one = found.transpose(1, 2, 0)
    whole, used = np.median(plain, axis=1)
    rows = {
        f"notes for the watch, {STEPS} steps": np.median(notes_[0]) / whole,
        f"a comparison in {STEPS} steps": np.median(compare_[0]) / whole,
        f"a checkpoint in {STEPS} steps, elapsed": np.median(with_one[0] - plain[0]) / whole,
        f"a checkpoint in {STEPS} steps, processor": np.median(with_one[1] - plain[1]) / used,
    }
    print(f"{STEPS} steps of LeNet-5, batch {BATCH_SIZE}: {1e3 * whole:.1f} ms")
    for what, part in rows.items():
        table.note(what, part * whole, "s", part=part)
    table.save()


if __name__ == "__main__":
    main()
