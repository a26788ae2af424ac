"""What one core can do at most: fused multiply-adds in registers, and memory read and written.

    python benchmarks/peak.py

Every other benchmark measures the multiply-adds again for each row, as clock rates change.
"""

from statistics import median

from rounds import Table, arguments

from distcnn.bench.measure import copy_bandwidth, fma_peak


def main():
    """Measure, print and keep."""
    table = Table("peak", arguments(__doc__))
    flops, memory = zip(*((fma_peak(), copy_bandwidth()) for _ in range(table.rounds)), strict=True)
    table.note("fused multiply-adds, FLOPs", median(flops), "1/s")
    table.note("memory, bytes read and written", median(memory), "1/s")
    table.save()


if __name__ == "__main__":
    main()
