"""Data-parallel training of convolutional networks on CPU clusters: the same bits on any number of ranks."""

from importlib import import_module

from distcnn.system import threads

__version__ = "0.1.0"
__all__ = ["Net", "layers"]

threads.limit_threads()  # before anything imports NumPy


def __getattr__(name):
    """Import on first use, so that `import distcnn` costs nothing and needs no MPI library."""
    if name == "Net":
        return import_module("distcnn.network.net").Net
    if name == "layers":
        return import_module("distcnn.layers")
    raise AttributeError(f"module 'distcnn' has no attribute {name!r}")
