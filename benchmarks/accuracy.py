"""The test error that a training command reaches: its mean over seeds, and their spread.

python benchmarks/accuracy.py [--seeds 5] [--ranks 1] [--runs DIR] -- --data mnist.h5 --model lenet5-1998 ...

What stands behind -- are options of distcnn.train. With --validation-split 0.1 among them the error on that part is
shown, too: choose settings by it, and look at the test error once. Runs that are in DIR already, finished or not, are
gone on with.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

PARTS = ("validation", "test")


def train(seed, ranks, folder, options):
    """Train with a seed, or go on with it, and return the last line of metrics."""
    words = [sys.executable, "-m", "distcnn.train", *options, "--seed", str(seed), "--out", str(folder)]
    words += ["--resume", "auto", "--progress", "none"]
    if ranks > 1:
        beside = shutil.which("mpirun", path=str(Path(sys.executable).parent))
        words = [beside or "mpirun", "-n", str(ranks), *words]
    done = subprocess.run(words, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="0 to this, excluded [5]")
    parser.add_argument("--ranks", type=int, default=1, help="above 1 by mpirun [1]")
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"), help="where runs are kept")
    parser.add_argument("options", nargs="*", help="of distcnn.train, behind --")
    asked = parser.parse_args()
    errors = {part: [] for part in PARTS}
    for seed in range(asked.seeds):
        record = train(seed, asked.ranks, asked.runs / f"seed-{seed}", asked.options)
        for part in PARTS:
            accuracy = record.get(f"{part}_accuracy")
            errors[part] += [] if accuracy is None else [100 * (1 - accuracy)]
        shown = "  ".join(f"{part} error {errors[part][-1]:.2f} %" for part in PARTS if errors[part])
        print(f"seed {seed}  {shown}  {record['weights_sha256'][:16]}", flush=True)
    for part in PARTS:
        if len(errors[part]) > 1:
            mean, spread = statistics.mean(errors[part]), statistics.stdev(errors[part])
            print(f"{part} error: mean {mean:.3f} %, standard deviation {spread:.3f} %")


if __name__ == "__main__":
    main()
