"""What one core can do: fused multiply-adds in registers, and memory read and written.

    python benchmarks/peak.py

Clocks wander, so every other benchmark measures the peak anew beside each row.
"""

from distcnn.bench.measure import copy_bandwidth, fma_peak, one_core


def main():
    """Measure and print."""
    one_core()
    for _ in range(5):
        print(f"{fma_peak() / 1e9:8.1f} GFLOP/s {copy_bandwidth() / 1e9:8.1f} GB/s")


if __name__ == "__main__":
    main()
