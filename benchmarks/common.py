"""What all benchmarks share: one core, one thread, interleaved rounds, quartiles."""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import time

import numpy as np


def one_core():
    """Keep this process on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def best(call, repeats=3):
    """Return the best time of a call, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def interleaved(rounds, **calls):
    """Return for each name an array of its results, one a round: in every round each call once, in turn."""
    results = [{name: call() for name, call in calls.items()} for _ in range(rounds)]
    return {name: np.array([each[name] for each in results]) for name in calls}


def quartiles(values):
    """Return median and quartiles as text."""
    return "{:5.2f} [{:.2f} {:.2f}]".format(*np.percentile(values, [50, 25, 75]))
