"""Compare the time in which whole commands train LeNet-5 on MNIST to a test accuracy of 99.0 %, with PyTorch's.

    MNIST=mnist.h5 python benchmarks/mnist.py

There are two ranks, and all kernels are compiled before. PyTorch trains by the same recipe, with
DistributedDataParallel, in the faster of its layouts. Each round has a new seed. For each side, the rounds that did not
reach the accuracy are counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from commands import Run, mnist, ours, theirs
from peers import missing
from rounds import Table, arguments

RANKS, WANTED = 2, 0.99
EPOCHS = 5  # distcnn reaches WANTED with each of three seeds; PyTorch with two, and 98.99 % with the third
RECIPE = "--warmup-epochs", 1, "--learning-rate", 0.05
LAYOUTS = "contiguous", "channels_last"


class Ours:
    """Runs of distcnn, each with a new seed; `parts` are the seconds of the phases of each run."""

    def __init__(self, data: Path, epochs: int) -> None:
        self.data, self.epochs, self.accuracies, self.parts = data, epochs, [], []

    def __call__(self) -> float:
        seed = len(self.parts)
        words = ours(RANKS, "--data", self.data, "--epochs", self.epochs, *RECIPE, "--seed", seed)
        run, out = Run(words), Path(words[words.index("--out") + 1])
        epochs = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        training = sum((e["step"] - b["step"]) / e["samples_per_second"] for b, e in pairs(epochs)) * 128
        self.accuracies.append(epochs[-1]["test_accuracy"])
        rest = run.seconds - run.ready - training
        self.parts.append({"start-up": run.ready, "training": training, "evaluation and files": rest})
        return run.seconds


def pairs(epochs: list[dict]) -> Iterable[tuple[dict, dict]]:
    """Return for each epoch (record of the epoch before, record of the epoch)."""
    return zip([{"step": 0}, *epochs], epochs, strict=False)


class Theirs:
    """Runs of PyTorch in one layout, each with a new seed."""

    def __init__(self, data: Path, epochs: int, layout: str) -> None:
        self.words = theirs(RANKS, "--data", data, "--epochs", epochs, *RECIPE, "--layout", layout)
        self.accuracies = []

    def __call__(self) -> float:
        run = Run([*self.words, "--seed", str(len(self.accuracies))])
        self.accuracies.append(float(run.text.split()[-1]))
        return run.seconds


def main() -> None:
    """Measure, print and save the results."""
    table, data = Table("mnist", arguments(__doc__), rounds=3, pinned=False), mnist()
    if not data:
        return
    epochs, reason = 1 if table.options.quick else EPOCHS, missing("peer_ddp")
    Run(ours(RANKS, "--data", data, "--max-steps", 1))  # compiles the kernels
    runs, peers = Ours(data, epochs), {"PyTorch DDP": reason}
    if not reason:
        layout = min(LAYOUTS, key=lambda layout: Theirs(data, 1, layout)())
        peers = {f"PyTorch DDP, {layout}": Theirs(data, epochs, layout)}
    table.row(f"MNIST to {WANTED:.1%}, {RANKS} ranks", runs, peers, unit="command")
    row = table.rows[-1]
    row["epochs"], row["accuracies"] = epochs, {"ours": runs.accuracies}
    row["accuracies"] |= {name: each.accuracies for name, each in peers.items() if not reason}
    row["parts"] = {name: median(each[name] for each in runs.parts) for name in runs.parts[0]}
    print("  ours:", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in row["parts"].items()))
    for name, found in row["accuracies"].items():
        missed, listed = sum(each < WANTED for each in found), ", ".join(f"{each:.2%}" for each in found)
        print(f"  {name}: {listed}" + f"; not reached: {missed}" * bool(missed))
    table.save()


if __name__ == "__main__":
    main()
