"""What the core can do: fused multiply-adds in registers, and reading and writing memory.

    python benchmarks/peak.py

Clocks wander, so every other benchmark measures these peaks beside each row, in the same round.
"""

import numpy as np
from common import best, one_core

from distcnn.kernels.compile import kernel, vector_registers
from distcnn.lanes import LANES, aligned, load_row, load_tile, store_tile, tile_fma

ROUNDS = 60_000
COLUMNS = 4 if vector_registers() == 32 else 1  # 16 or 4 chains of Lanes: two registers each with AVX2


def _fma_loop(columns):
    def function(x, rounds):
        tile = load_tile(x, (0, 0, 0), 1, 4, columns)
        outer, row = load_row(x, (0, 0, 0), 1, 4), load_row(x, (0, 1, 0), 1, columns)
        for _ in range(rounds):
            tile = tile_fma(tile, outer, row)
        store_tile(x, (0, 0, 0), tile, 1, 4, columns)

    return function


fma_loop = kernel("f4:4 i8")(_fma_loop(COLUMNS))
_OPERANDS = aligned((1, 4, 4, LANES)) + np.float32(1e-3)
_MEMORY = [np.ones(1 << 24, np.float32) for _ in range(2)]


def fma_peak():
    """Return fused multiply-adds of independent chains, in FLOP/s."""
    _OPERANDS[...] = 1e-3
    return ROUNDS * 4 * COLUMNS * LANES * 2 / best(lambda: fma_loop(_OPERANDS, ROUNDS), 1)


def copy_bandwidth():
    """Return bytes read and written a second by a copy of 64 MiB."""
    return 2 * _MEMORY[0].nbytes / best(lambda: np.copyto(*_MEMORY), 2)


def main():
    """Measure and print."""
    one_core()
    fma_peak()
    for _ in range(5):
        print(f"{fma_peak() / 1e9:8.1f} GFLOP/s   {copy_bandwidth() / 1e9:6.1f} GB/s")


if __name__ == "__main__":
    main()
