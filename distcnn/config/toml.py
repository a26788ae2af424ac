"""Settings in TOML, as configuration files and checkpoints hold them, including those of early versions."""

from __future__ import annotations

import sys
from typing import Any

from distcnn.config.hints import key_hint
from distcnn.config.old_names import MISSING, modernized
from distcnn.config.settings import SETTINGS, Config, saved_settings, validated
from distcnn.errors import ConfigError
from distcnn.numerics import NUMERICS
from distcnn.system.regular_files import TooLarge, read_regular

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_LIMIT = 2**20  # bytes of a --config file


def to_toml(config: Config) -> str:
    """Return the text of config.toml: all settings that are saved with a run, except those that are None."""
    import tomli_w

    return tomli_w.dumps({"numerics": NUMERICS} | saved_settings(config))


def from_toml(text: str, where: object) -> Config:
    """Return the Config of a run in a text of TOML; the caller compares the numerics.

    where: the source of the text, which begins the error message.

    Raises ConfigError if the text is not TOML or holds unknown keys or invalid values.
    """
    return Config(**MISSING | _validated(_table(text, where), where))


def read_file(name: str) -> dict[str, Any]:
    """Return the settings in a --config file.

    Raises ConfigError if the file cannot be read, holds unknown keys or invalid values, or names other numerics
    than those of this version.
    """
    try:
        text = read_regular(name, FILE_LIMIT).decode()
    except TooLarge as error:
        raise ConfigError(f"--config {name}: {error}; wanted a TOML file of settings") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"--config {name}: {reason}; wanted a TOML file of settings") from None
    table = _table(text, name)
    found = table.get("numerics", NUMERICS)
    if type(found) is not int or found != NUMERICS:
        raise ConfigError(
            f"{name}: numerics {found}, but this is numerics {NUMERICS}, which gives other bits; "
            f"remove the line to accept them, or use the version that wrote the file"
        )
    return _validated(table, name)


def _table(text: str, where: object) -> dict[str, Any]:
    """Return the table in a text of TOML; raise ConfigError, which begins with `where`, if it is not TOML."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not TOML: {str(error)[:100]!r}") from None


def _validated(table: dict[str, Any], where: object) -> dict[str, Any]:
    """Return the valid settings in a table, without `numerics`; raise ConfigError, which begins with `where`."""
    table = modernized(table, where)
    for key in table:
        if key not in SETTINGS and key != "numerics":
            raise ConfigError(f"{where}: unknown key {key!r}{key_hint(key, SETTINGS)}")
    return {key: validated(key, table[key], f"{where}: {key}") for key in table if key in SETTINGS}
