"""What the guards against loss cost: their part of a LeNet-5 step with 64 samples on a rank, as a ratio.

    python benchmarks/guards.py

Counted are the notes for the watch and a comparison of replicas (digest and copy of the state, without its messages)
every 100 steps. The guard of the exact sums themselves is part of the kernels. Each is the median of many
calls, alternating with the step, so that all see the same machine.
"""

import statistics
import time

from distcnn.config import parse
from distcnn.data.dataset import load
from distcnn.parallel.alone import Alone
from distcnn.parallel.watch import COMPUTING, WAITING
from distcnn.replicas import Copy
from distcnn.state import digest
from distcnn.training import Training

ROUNDS = 200


def seconds(function):
    """Return how long a call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main():
    config = parse(["--batch-size", "64", "--epochs", "1000"], "guards").config
    training = Training(config, load(None, Alone()), Alone())
    batches = training.remaining()

    def step():
        training.step(next(batches))
        if training.epoch_done:
            training.next_epoch()

    def note():
        training.watch.note(COMPUTING, training.steps)
        training.watch.note(WAITING)
        training.watch.note(COMPUTING)

    def compare():
        arrays = training.arrays
        Copy(training.standing, [array.copy() for array in arrays], digest(*arrays))

    parts = {"notes for the watch": (note, 1), "comparison of replicas": (compare, config.compare_every)}
    step()
    times = [(seconds(step), *(seconds(part) for part, _ in parts.values())) for _ in range(ROUNDS)]
    whole, *costs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"a step: {whole * 1e3:.2f} ms")
    ratios = [cost / every / whole for cost, (_, every) in zip(costs, parts.values(), strict=True)]
    for (name, (_, every)), cost, ratio in zip(parts.items(), costs, ratios, strict=True):
        print(f"{name}: {cost * 1e6:.1f} us every {every} steps, {ratio:.3%} of a step")
    print(f"all guards: {sum(ratios):.3%}")


if __name__ == "__main__":
    main()
