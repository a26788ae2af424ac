"""The network that a state was trained with, and whether another one is the same to the bit."""

from __future__ import annotations

from pathlib import Path

from distcnn.config.toml import from_toml
from distcnn.errors import CheckpointError, ConfigError
from distcnn.models.base import Network
from distcnn.models.catalog import MODELS
from distcnn.models.networks import network_text
from distcnn.run.state import State


def network_in(state: State, where: str | Path) -> str:
    """Return the network of a state in its notation; where: the name of the state in error messages."""
    if state.network:
        return state.network
    model = from_toml(state.config_toml, where).model
    if model not in MODELS:  # a word that names code must not come from a checkpoint
        found = f"holds no network, and {model!r} is not one of ours"
        raise CheckpointError(f"{where}: {found}; use another checkpoint")
    return network_text(model, state.input_shape, len(state.classes))


def changed_code(state: State, hashes: dict[str, str]) -> str | None:
    """Return a phrase if the files that define layers of the user's own have changed since the training, else None.

    hashes: of the files now, as `models.user_code.source_hashes` returns them.
    """
    changed = [name for name, found in hashes.items() if state.user_code.get(name) != found]
    return f"the file that defines {', '.join(changed)} has changed since the training" if changed else None


def require_same_network(state: State, saved: str, network: Network) -> None:
    """Raise ConfigError unless a network is the one with which a state was trained, to the bit.

    saved: the network of the state, in its notation.
    """
    if network.text != saved:
        remedy = "leave the option out, or start a new run in another --out"
        raise ConfigError(f"--model makes another network than that of the run: {remedy}")
    changed = changed_code(state, network.user_code)
    if changed:
        raise ConfigError(f"{changed}, so bits may differ: bring that version back, or start a new run")
