"""Measure the peak resident memory of a rank that trains LeNet-5 on MNIST, without shared memory.

    MNIST=mnist.h5 python benchmarks/memory.py

All kernels are compiled before.
"""

from __future__ import annotations

from commands import Run, mnist, ours, theirs
from peers import missing
from rounds import Table, arguments

RANKS = 2


def main() -> None:
    """Measure, print and save the results."""
    table, data = Table("memory", arguments(__doc__), rounds=3, pinned=False), mnist()
    if not data:
        return
    Run(ours(RANKS, "--data", data, "--max-steps", 1))  # compiles the kernels
    last = ["--max-steps", 100] if table.options.quick else []

    def used(words):
        return Run(words, watched=True).memory

    what = f"LeNet-5 on MNIST, {RANKS} ranks, an epoch"
    words = theirs(RANKS, "--data", data, "--epochs", 1)
    peers = {"PyTorch DDP": missing("peer_ddp") or (lambda: used(words))}
    table.row(what, lambda: used(ours(RANKS, "--data", data, "--epochs", 1, *last)), peers, unit="bytes")
    table.save()


if __name__ == "__main__":
    main()
