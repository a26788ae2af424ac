"""The user's own code: a function that returns a network, and classes of layers. Only code that the user names runs."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import marshal
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from distcnn.errors import ConfigError
from distcnn.layers import Layer
from distcnn.layers.literals import USER_CODE, class_name
from distcnn.system import user_files
from distcnn.system.regular_files import read_regular

MAX_BYTES = 2**24  # of a file of code


_loaded: dict[str, tuple[bytes, ModuleType]] = {}  # content and module of each file, by its absolute path


def load(source: str) -> ModuleType:
    """Import the user's module; import a file again only if it has changed.

    source: the path of a file that ends in .py, or the name of a module.

    Raises ConfigError, which names the file and the line, if that fails.
    """
    if not source.endswith(".py"):
        return _load_module(source)
    path = os.path.abspath(source)
    try:
        content = read_regular(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{source}: {reason}; wanted a Python file: check the path") from None
    if path not in _loaded or _loaded[path][0] != content:
        _loaded[path] = content, _load_file(path)
    return _loaded[path][1]


def _load_module(name: str) -> ModuleType:
    """Import a module by its name, also one that lies in the working folder."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    with _errors_located(name):
        spec = importlib.util.find_spec(name)
        if spec and spec.origin:
            user_files.register(spec.origin)
        return importlib.import_module(name)


def _load_file(path: str) -> ModuleType:
    """Import the file at an absolute path. It can import its neighbors, which never hide installed modules."""
    if os.path.dirname(path) not in sys.path:
        sys.path.append(os.path.dirname(path))
    name = USER_CODE + re.sub(r"\W", "_", Path(path).stem)
    loader = _Loader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # as there is a loader
    module = importlib.util.module_from_spec(spec)
    user_files.register(path)
    sys.modules[name] = module  # a dataclass looks its module up there
    with _errors_located(path):
        loader.exec_module(module)
    return module


class _Loader(SourceFileLoader):
    """Loads a file as it is now: Python's cache of compiled files compares only the size and the second of a change."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def function(module: ModuleType, name: str, source: str) -> Callable[..., Any]:
    """Return a function of the user's module; source: the module as the user has named it, for messages."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        there = [each for each, value in vars(module).items() if _is_own_function(module, value)]
        wanted = f"wanted one of its functions: {', '.join(there)}" if there else "it defines no function"
        raise ConfigError(f"{source} has no function {name}; {wanted}")
    return found


def functions(path: str) -> list[str]:
    """Return the names of the functions at the top of a Python file, without running it; [] if it cannot be read."""
    import ast

    try:
        body = ast.parse(Path(path).read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [each.name for each in body if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")]


def call(made: Callable[..., Any], *arguments: Any, source: str) -> Any:
    """Return made(*arguments); raise ConfigError, which names file and line, for any error in it."""
    with _errors_located(source):
        return made(*arguments)


def layer_classes(module: ModuleType) -> dict[str, type[Layer]]:
    """Return the classes of layers that a module defines, by their names in the notation, such as "net.Swish"."""
    found = [each for each in vars(module).values() if inspect.isclass(each) and issubclass(each, Layer)]
    return {class_name(each): each for each in found if each.__module__ == module.__name__}


def source_hashes(layers: Iterable[Layer]) -> dict[str, str]:
    """Return the SHA-256, in hex, of the source file of each layer of the user's own, by "MODULE:CLASS"."""
    kinds = {class_name(type(layer)): type(layer) for layer in layers}
    return {
        ":".join(name.rsplit(".", 1)): hashlib.sha256(_source(kind)).hexdigest()
        for name, kind in sorted(kinds.items())
        if "." in name
    }


def _source(kind: type) -> bytes:
    """Return the file of a class, or the code of its methods where there is no file, as in a notebook."""
    try:
        return Path(inspect.getfile(kind)).read_bytes()
    except (TypeError, OSError):
        codes = [each.__code__ for each in vars(kind).values() if inspect.isfunction(each)]
        return b"".join(marshal.dumps(code.replace(co_filename="", co_firstlineno=1)) for code in codes)


def _is_own_function(module: ModuleType, value: Any) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__ and value.__name__[0] != "_"


@contextmanager
def _errors_located(source: str) -> Iterator[None]:
    """Turn every error of the user's code, which runs in this block, into a ConfigError that names file and line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        located = user_files.as_user_error(error)
        if isinstance(located, ConfigError):
            raise located from None
        raise ConfigError(f"{source}: {type(error).__name__}: {' '.join(str(error).split())}") from None
