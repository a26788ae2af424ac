"""Packages that only exported files need, and that pip installs with `distcnn[export]`."""

from __future__ import annotations

from importlib.util import find_spec

from distcnn.errors import ConfigError


def require_package(name: str) -> None:
    """Raise ConfigError unless a package is installed."""
    if find_spec(name) is None:
        raise ConfigError(
            f"the package {name} is not installed, which this file needs: pip install 'distcnn[export]'"
        )
