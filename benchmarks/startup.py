"""Compare the seconds from the start of a command to its first step with PyTorch's, for LeNet-5 on the digits.

    python benchmarks/startup.py

A cold start compiles all kernels, as the cache is empty; a warm start reads them from the cache. Commands of one rank
run on one core.
"""

from __future__ import annotations

import os
import tempfile

from commands import DIGITS, FOLDER, Run, ours, theirs
from peers import missing
from rounds import Table, arguments

from distcnn.bench.measure import one_core

MANY = 8


def ready(words: list[str], **environment: str) -> float:
    """Return the seconds until a command is ready for its first step; words, environment: as in `Run`."""
    return Run(words, stop_when_ready=True, **environment).ready


def main() -> None:
    """Measure, print and save the results."""
    table = Table("startup", arguments(__doc__), rounds=5, pinned=False)
    reason, cores = missing("peer_ddp"), os.sched_getaffinity(0)
    Run(ours(1, "--max-steps", 1))  # fills the kernel cache

    def row(what, ranks):
        peers = {"PyTorch DDP": reason or (lambda: ready(theirs(ranks, "--data", DIGITS)))}
        if table.wants(what):
            table.row(what, lambda: ready(ours(ranks)), peers, unit="command")

    one_core()
    what = "first step, cold, one core"
    if table.wants(what):
        empty = lambda: {"XDG_CACHE_HOME": tempfile.mkdtemp(dir=FOLDER), "NUMBA_CACHE_DIR": ""}  # noqa: E731
        table.row(what, lambda: ready(ours(1), **empty()), unit="command")
    row("first step, warm, one core", 1)
    os.sched_setaffinity(0, cores)
    row(f"first step, warm, {MANY} ranks on {len(cores)} cores", MANY)
    table.save()


if __name__ == "__main__":
    main()
