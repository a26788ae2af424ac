"""Measure times in interleaved rounds, and the peak of fused multiply-adds in the same round.

Clock rates change and cores are shared, so a time means little by itself: what counts is its ratio to another one
taken just before or after it. Times are CPU time of this process, on all its threads, without that of other processes.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from distcnn.kernels.jit import kernel
from distcnn.kernels.program import Program
from distcnn.lanes import LANES, aligned, load, load_row, store, store_tile, tile_fma, tile_repeat
from distcnn.lanes.cpu import vector_registers

CHAINS = 16 if vector_registers() == 32 else 5  # independent Lanes, each of which is two registers with AVX2
REPEATS = 40_000

Calls = Mapping[Any, Callable[[], Any]]  # by name


def one_core() -> None:
    """Keep this process on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def best(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest time of a call, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def interleaved(rounds: int, calls: Calls) -> dict[Any, np.ndarray]:
    """Return for each name of `calls` an array of its results, one a round; a round makes each call once, in turn."""
    results = [{name: call() for name, call in calls.items()} for _ in range(rounds)]
    return {name: np.array([each[name] for each in results]) for name in calls}


def shares_of_peak(calls: Calls, flops: int, rounds: int = 9, repeats: int = 5) -> dict[Any, np.ndarray]:
    """Return for each name an array of its FLOP/s over the peak measured before and after it, one a round.

    calls: by name.
    flops: of each call.
    rounds: how many results there are.
    repeats: how many times a call is measured in a round, of which the shortest time counts.
    """
    peak = np.array([_shares_in_a_round(calls, flops, repeats) for _ in range(rounds)])
    return dict(zip(calls, peak.T, strict=True))


def _shares_in_a_round(calls: Calls, flops: int, repeats: int) -> list[float]:
    peaks, times = [fma_peak()], []
    for call in calls.values():
        times.append(best(call, repeats))
        peaks.append(fma_peak())
    return [flops / t / max(before, after) for t, before, after in zip(times, peaks, peaks[1:], strict=False)]


def quartiles(values: np.ndarray) -> str:
    """Return median and quartiles as text."""
    return "{:5.2f} [{:.2f} {:.2f}]".format(*np.percentile(values, [50, 25, 75]))


# ---- peaks ----


def _fma_loop(x, repeats):
    """Do `repeats` times CHAINS independent multiply-adds of the same operands."""
    tile, row = load_row(x, (0, 0), 1, CHAINS), load_row(x, (1, 0), 1, 1)
    factors = tile_repeat(load_row(x, (1, 1), 1, 1), CHAINS)
    for _ in range(repeats):
        tile = tile_fma(tile, factors, row)
    store_tile(x, (0, 0), tile, 1, 1, CHAINS)


fma_loop = kernel("f4:3 i8")(_fma_loop)
_OPERANDS = aligned((2, 16, LANES))


def fma_peak() -> float:
    """Return the FLOP/s of a loop of multiply-adds whose operands all stay in registers."""
    _OPERANDS[...] = 1e-3
    fma_loop(_OPERANDS, 1)
    return REPEATS * CHAINS * LANES * 2 / best(lambda: fma_loop(_OPERANDS, REPEATS), 1)


def copy_bandwidth(megabytes: int = 128) -> float:
    """Return how many bytes a second a copy larger than all caches reads and writes."""
    source, target = (np.ones(megabytes << 18, np.float32) for _ in range(2))
    return 2 * source.nbytes / best(lambda: np.copyto(target, source))


@kernel("f4:3 i8")
def division_loop(x, repeats):
    """Do `repeats` times four independent divisions."""
    a, b, c, d = load(x, (0, 0)), load(x, (0, 1)), load(x, (0, 2)), load(x, (0, 3))
    divisor = load(x, (1, 0))
    for _ in range(repeats):
        a, b, c, d = a / divisor, b / divisor, c / divisor, d / divisor
    store(x, (0, 0), a + b + c + d)


def division_seconds() -> float:
    """Return how long the division of one Lanes takes."""
    _OPERANDS[...] = 1.0
    division_loop(_OPERANDS, 1)
    return best(lambda: division_loop(_OPERANDS, REPEATS // 4), 1) / REPEATS


@kernel("f4:2 f4:2")
def _copy(x, y):
    for k in range(x.shape[0]):
        store(y, (k,), load(x, (k,)))


def copy_seconds(size: int, least: float = 1e-3) -> float:
    """Return how long a copy takes that reads and writes `size` bytes together, in the cache or memory that holds them.

    least: seconds of a measurement.
    """
    x, y = (aligned((max(1, size // 128), LANES)) for _ in range(2))
    x[...] = y[...] = 1.0
    return repeated_seconds([(_copy, (x, y))], least) * size / (2 * x.nbytes)


def repeated_seconds(calls: list[tuple], least: float = 1e-3) -> float:
    """Return the shortest time of some kernel calls.

    calls: (kernel, arguments) each; they are repeated in a measurement.
    least: seconds of a measurement.
    """
    once = Program(calls)
    once()
    count = max(1, round(least / max(best(once), 1e-7)))
    return best(Program(calls * count)) / count
