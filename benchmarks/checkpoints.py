"""What a checkpoint every 100 steps costs LeNet-5, on one core: `python benchmarks/checkpoints.py`.

Steps with and without checkpoints take turns, so that both meet the same machine. Processor time counts what
the writing thread uses too, elapsed time what training had to wait for.
"""

import itertools
import tempfile
import time
from pathlib import Path
from statistics import median

from distcnn.config import Config
from distcnn.data.dataset import load
from distcnn.parallel.alone import Alone
from distcnn.report.archive import Archive
from distcnn.training import Training

STEPS, ROUNDS, BATCH = 100, 25, 64


def measure(training, blocks, archive):
    """Return elapsed and processor time of 100 steps, beside which a checkpoint is written if there is an archive."""
    elapsed, used = time.perf_counter(), time.process_time()
    if archive:
        archive.save(training.state())
    for _ in range(STEPS):
        training.step(next(blocks))
    return time.perf_counter() - elapsed, time.process_time() - used


def main():
    """Print the cost as a part of the time of 100 steps."""
    training = Training(Config(batch_size=BATCH, epochs=1000), load(None, Alone()), Alone())
    training.compile()
    batches = list(training.batches.epoch(0))
    blocks = itertools.cycle(batches[:-1])
    measure(training, blocks, None)
    plain, saving = [], []
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(Path(folder), keep=3)
        for _ in range(ROUNDS):
            plain.append(measure(training, blocks, None))
            saving.append(measure(training, blocks, archive))
        archive.close()
    for name, k in (("elapsed", 0), ("processor", 1)):
        without = median(each[k] for each in plain)
        extra = median(one[k] - other[k] for one, other in zip(saving, plain, strict=True))
        share = f"a checkpoint {1e3 * extra:5.2f} ms, {extra / without:6.2%}"
        print(f"{name:9s}  {STEPS} steps {1e3 * without:7.1f} ms, {share}")


if __name__ == "__main__":
    main()
