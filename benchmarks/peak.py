"""Measure the peak of one core: fused multiply-adds in registers, and bytes of memory read and written.

    python benchmarks/peak.py

The other benchmarks measure the peak of multiply-adds again for each row, because clock rates change.
"""

from __future__ import annotations

from statistics import median

from rounds import Table, arguments

from distcnn.bench.measure import copy_bandwidth, fma_peak


def main() -> None:
    """Measure, print and save the results."""
    table = Table("peak", arguments(__doc__))
    flops, memory = zip(*((fma_peak(), copy_bandwidth()) for _ in range(table.rounds)), strict=True)
    table.add("fused multiply-adds, FLOPs", median(flops), "1/s")
    table.add("memory, bytes read and written", median(memory), "1/s")
    table.save()


if __name__ == "__main__":
    main()
