"""Setting names and values of early versions, which old checkpoints and files hold, and British spelling."""

from __future__ import annotations

import re
from typing import Any

from distcnn.errors import ConfigError

OLD_KEYS = {
    "average": "ema_decay",
    "compare_every": "replica_check_every",
    "drop_at": "milestones",
    "drop_every": "step_size",
    "drop_factor": "gamma",
    "end_fraction": "final_lr_fraction",
    "keep": "keep_checkpoints",
    "start_fraction": "initial_lr_fraction",
    "validation": "validation_split",
}
MISSING = {"task": "classify"}  # what a saved run without a setting means: it is older than the setting
REUSED_KEYS = {"patience": "hang_timeout"}  # which today are the keys of other settings
OLD_VALUES = {"optimizer": {"momentum": "sgd", "adam": "adamw"}}  # by setting
BRITISH = re.compile("(optimi|normali|standardi|initiali|regulari|synchroni)s(?=e|ation)")


def american(name: str) -> str:
    """Return the name of an option or key in American spelling, such as optimizer for optimiser."""
    return BRITISH.sub(r"\1z", name).replace("grey", "gray")


def modernized(table: dict[str, Any], where: object) -> dict[str, Any]:
    """Return a table of settings with the current keys and values instead of those of early versions.

    where: the source of the table, which begins the error message.

    Raises ConfigError if the table has a setting under two names.
    """
    modern: dict[str, Any] = {}
    origin: dict[str, str] = {}
    old_keys = OLD_KEYS | (REUSED_KEYS if _is_old(table) else {})
    for key, value in table.items():
        name = old_keys.get(key) or american(key)
        if name in modern:
            raise ConfigError(
                f"{where}: {origin[name]!r} and {key!r} are the same setting; remove one of them"
            )
        renamed = OLD_VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value
        modern[name], origin[name] = renamed, key
    return modern


def _is_old(table: dict[str, Any]) -> bool:
    """Return whether a table has a key of early versions, or a patience with a fraction: those were seconds."""
    return not OLD_KEYS.keys().isdisjoint(table) or isinstance(table.get("patience"), float)
