"""Measure the test error of a training command: its mean and standard deviation over several seeds.

python benchmarks/accuracy.py [--seeds 5] [--ranks 1] [--runs DIR] -- --data mnist.h5 --model lenet5-1998 ...

The options after -- are those of distcnn.train. With --validation-split 0.1 among them, the error on that split is
printed, too: use it to choose settings, and look at the test error only once. Runs that exist in DIR are resumed, or
read if they are finished.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

SPLITS = ("validation", "test")


def train(seed: int, ranks: int, folder: Path, options: list[str]) -> dict:
    """Train with a seed, or resume that run; return the last line of its metrics.

    seed: the seed.
    ranks: the number of ranks; above 1, mpirun starts them.
    folder: the run's folder.
    options: further options of distcnn.train.
    """
    words = [sys.executable, "-m", "distcnn.train", *options, "--seed", str(seed), "--out", str(folder)]
    words += ["--resume", "auto", "--progress", "none"]
    if ranks > 1:
        ours = shutil.which("mpirun", path=str(Path(sys.executable).parent))
        words = [ours or "mpirun", "-n", str(ranks), *words]
    done = subprocess.run(words, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def main() -> None:
    """Train with each seed, and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="the number of seeds, which begin at 0 [5]")
    parser.add_argument("--ranks", type=int, default=1, help="the number of ranks [1]")
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"), help="the folder of the runs")
    parser.add_argument("train", nargs="*", metavar="OPTION", help="an option of distcnn.train, after --")
    options = parser.parse_args()
    errors = {split: [] for split in SPLITS}
    for seed in range(options.seeds):
        record = train(seed, options.ranks, options.runs / f"seed-{seed}", options.train)
        for split in SPLITS:
            accuracy = record.get(f"{split}_accuracy")
            errors[split] += [] if accuracy is None else [100 * (1 - accuracy)]
        shown = "  ".join(f"{split} error {errors[split][-1]:.2f} %" for split in SPLITS if errors[split])
        print(f"seed {seed}  {shown}  {record['weights_sha256'][:16]}", flush=True)
    for split in SPLITS:
        if len(errors[split]) > 1:
            mean, spread = statistics.mean(errors[split]), statistics.stdev(errors[split])
            print(f"{split} error: mean {mean:.3f} %, standard deviation {spread:.3f} %")


if __name__ == "__main__":
    main()
