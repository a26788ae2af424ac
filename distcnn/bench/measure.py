"""Measure times in interleaved rounds, and the peak of fused multiply-adds in the same round.

Clock rates change and cores are shared, so a single time means little. What counts is its ratio to another time that
was measured just before or after it. Times are the CPU time of all threads of this process.
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

CHAINS = 16 if vector_registers() == 32 else 5  # independent Lanes; with AVX2, each needs two registers
REPEATS = 40_000

Calls = Mapping[Any, Callable[[], Any]]  # functions to measure, by name


def one_core() -> None:
    """Pin this process to one core, if the system supports that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def best(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest of the times of `repeats` calls, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def interleaved(rounds: int, calls: Calls) -> dict[Any, np.ndarray]:
    """Make each call once per round, in turn; return for each name an array of its results, one per round."""
    results = [{name: call() for name, call in calls.items()} for _ in range(rounds)]
    return {name: np.array([each[name] for each in results]) for name in calls}


def shares_of_peak(calls: Calls, flops: int, rounds: int = 9, repeats: int = 5) -> dict[Any, np.ndarray]:
    """Return for each name an array of its FLOP/s divided by the peak measured before and after it, one per round.

    calls: the functions to measure, by name.
    flops: the number of operations of each call.
    rounds: the number of rounds.
    repeats: how many times a call is measured in a round; the shortest time counts.
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
    """Return the median and the quartiles as text."""
    return "{:5.2f} [{:.2f} {:.2f}]".format(*np.percentile(values, [50, 25, 75]))


# ---- peaks ----


def _fma_loop(x, repeats):
    """Repeat CHAINS independent multiply-adds with the same operands `repeats` times."""
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
    """Return how many bytes per second a copy reads and writes together, for arrays larger than all caches."""
    source, target = (np.ones(megabytes << 18, np.float32) for _ in range(2))
    return 2 * source.nbytes / best(lambda: np.copyto(target, source))


@kernel("f4:3 i8")
def division_loop(x, repeats):
    """Repeat four independent divisions `repeats` times."""
    a, b, c, d = load(x, (0, 0)), load(x, (0, 1)), load(x, (0, 2)), load(x, (0, 3))
    divisor = load(x, (1, 0))
    for _ in range(repeats):
        a, b, c, d = a / divisor, b / divisor, c / divisor, d / divisor
    store(x, (0, 0), a + b + c + d)


def division_seconds() -> float:
    """Return the seconds of the division of one Lanes."""
    _OPERANDS[...] = 1.0
    division_loop(_OPERANDS, 1)
    return best(lambda: division_loop(_OPERANDS, REPEATS // 4), 1) / REPEATS


@kernel("f4:2 f4:2")
def _copy(x, y):
    for k in range(x.shape[0]):
        store(y, (k,), load(x, (k,)))


def copy_seconds(size: int, least: float = 1e-3) -> float:
    """Return the seconds of a copy within the smallest cache that its arrays fit into, or else within memory.

    size: the number of bytes that the copy reads and writes together.
    least: the seconds of a measurement.
    """
    x, y = (aligned((max(1, size // 128), LANES)) for _ in range(2))
    x[...] = y[...] = 1.0
    return repeated_seconds([(_copy, (x, y))], least) * size / (2 * x.nbytes)


def repeated_seconds(calls: list[tuple], least: float = 1e-3) -> float:
    """Return the shortest time of a sequence of kernel calls, in seconds.

    calls: (kernel, arguments) each.
    least: the seconds of a measurement, in which the sequence is repeated.
    """
    once = Program(calls)
    once()
    count = max(1, round(least / max(best(once), 1e-7)))
    return best(Program(calls * count)) / count
