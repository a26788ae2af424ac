"""Datasets: their files, their samples in memory, and the order in which training uses the samples."""
