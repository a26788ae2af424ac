"""Convolution layers, and the algorithms that compute them, one per file."""
