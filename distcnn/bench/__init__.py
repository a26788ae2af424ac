"""Measuring what this machine does: `python -m distcnn.bench tiles`."""
