"""Networks: those of distcnn by name, each family in a file, and those of the user's own."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # True for type checkers
if TYPE_CHECKING:
    from distcnn.models.base import Model
    from distcnn.models.catalog import MODELS, list_models, size
    from distcnn.models.networks import build, check

__all__ = ["MODELS", "Model", "build", "check", "list_models", "size"]

WHERE = {"Model": "base", "build": "networks", "check": "networks"}  # the modules; of all others, catalog


def __getattr__(name: str) -> object:
    """Import a public name on first use, as `python -m distcnn.models --version` needs no NumPy."""
    if name not in __all__:
        raise AttributeError(f"module 'distcnn.models' has no attribute {name!r}")
    return getattr(import_module(f"distcnn.models.{WHERE.get(name, 'catalog')}"), name)
