"""The settings that say where a dataset lies and what it is: with absolute paths, and with all that was found out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from distcnn.config.settings import Config, option, validated
from distcnn.data.description import Description
from distcnn.data.references import IN_MEMORY, file_of, parse_reference, short
from distcnn.data.wanted import OPTIONS, Wanted, files_of, words_of

ARRAYS = {f"{begin}{kind}": None for begin in OPTIONS.values() for kind in ("images", "labels")}.keys()


def with_absolute_paths(config: Config) -> Config:
    """Return settings whose paths are valid in any folder: `data` names all files, arrays name those by their ends.

    Raises DataError for a pattern that no file matches, and for an array in a file that there is not; ConfigError for a
    path that cannot be saved, as the working folder's name is not text.
    """
    wanted = Wanted.of(config)
    if config.data is None and not wanted.names_arrays:
        return config
    files = files_of(words_of(config.data), wanted)
    settings: dict[str, Any] = {"data": validated("data", files, option("data"))}
    for name in ARRAYS:
        settings[name] = _one_or_more([_shortened(text, files) for text in words_of(getattr(config, name))])
    return replace(config, **settings)


def with_findings(config: Config, found: Description | None) -> Config:
    """Return settings in which all stands that was found out about the files, so that nothing is found out again."""
    settings: dict[str, Any] = dict(found.settings) if found is not None else {}
    for name in settings.keys() & ARRAYS:
        settings[name] = _one_or_more(settings[name])
    return replace(config, **settings)


def with_arrays(config: Config, file: str | None) -> Config:
    """Return settings that say of arrays in memory that they were such, in place of the file that holds them meanwhile.

    Their names there are left out, as a file that holds them later may have others.

    file: the path of this file; None if there are no such arrays.
    """
    files = words_of(config.data)
    if file not in files:
        return config
    settings: dict[str, Any] = {"data": _one_or_more([IN_MEMORY if each == file else each for each in files])}
    for name in ARRAYS:
        texts = words_of(getattr(config, name))
        others = [text for text in texts if len(files) > 1 and not _names(text, file, files)]
        settings[name] = _one_or_more(others)
    return replace(config, **settings)


def _names(text: str, file: str, files: Sequence[str]) -> bool:
    """Return whether a text names an array in a file, which is one of several files."""
    name = parse_reference(text).file
    return name is not None and file_of(name, files) == file


def with_named(config: Config, named: Wanted) -> Config:
    """Return settings in which the arrays, layout and labels are those that a user names now, where there are any."""
    arrays = {name: _one_or_more(getattr(named, name)) for name in ARRAYS}
    given: dict[str, Any] = {name: each for name, each in arrays.items() if each}
    given |= {"layout": named.layout} if named.layout else {}
    return replace(config, **given, map_labels=config.map_labels or named.map_labels)


def first_file(config: Config) -> str | None:
    """Return the path of the first file of the dataset, or None for the embedded digits."""
    return next(iter(words_of(config.data)), None)


def _shortened(text: str, files: Sequence[str]) -> str:
    """Return the text that names an array, with the shortest name of its file."""
    reference = parse_reference(text)
    if reference.file is None:
        return text
    file = file_of(reference.file, files)
    if reference.path is None:
        return text
    return str(replace(reference, file=short(file, files)))


def _one_or_more(texts: Sequence[str]) -> str | tuple[str, ...] | None:
    """Return texts as a setting holds them."""
    return texts[0] if len(texts) == 1 else tuple(texts) or None
