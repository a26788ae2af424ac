"""Measurements of this machine: `python -m distcnn.bench tiles`."""
