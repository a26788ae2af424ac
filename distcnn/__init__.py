"""Data-parallel training of convolutional networks on CPU clusters: the same bits on any number of ranks."""

from __future__ import annotations

from importlib import import_module

from distcnn.system import threads

TYPE_CHECKING = False  # True for type checkers; to import it from typing takes longer than `import distcnn`
if TYPE_CHECKING:
    from distcnn import layers
    from distcnn.config.versions import show_versions
    from distcnn.job.fit import fit
    from distcnn.job.net import Net

__version__ = "0.1.0"
__all__ = ["Net", "fit", "layers", "show_versions"]

threads.limit_threads()  # before anything imports NumPy

# The modules that define public names:
MODULES = {"Net": "job.net", "fit": "job.fit", "show_versions": "config.versions"}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `import distcnn` is fast and needs no MPI library."""
    if name == "layers":
        return import_module("distcnn.layers")
    if name in MODULES:
        return getattr(import_module(f"distcnn.{MODULES[name]}"), name)
    raise AttributeError(f"module 'distcnn' has no attribute {name!r}")
