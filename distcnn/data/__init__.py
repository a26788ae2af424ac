"""Datasets: the files that hold them, their samples in memory, and the order in which training sees them."""
