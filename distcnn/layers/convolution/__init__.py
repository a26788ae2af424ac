"""Convolution layers, and the algorithms that compute them, one a file."""
