"""The cache of compiled kernels: the name of a folder is a hash of everything that its machine code depends on.

A folder has a file per kernel, and what it computes depends on its name alone: any number of jobs can read and write at
the same time. No error in reading or writing ends a run: kernels are compiled instead, with a warning. A file is
unpickled only if nobody but this user can write to its folder and its checksum is right.
"""

import hashlib
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import llvmlite
import numba
import numpy as np

from distcnn.lanes.cpu import processor
from distcnn.system import cache_dir, checked_file
from distcnn.system.terminal_text import say, warn

PACKAGE = Path(__file__).resolve().parents[1]
FOLDERS = "kernels", "lanes", "numerics"


def folder(function: Callable) -> Path | None:
    """Return the folder for the machine code of a kernel function, or None if the code cannot be cached.

    The name of the folder is a hash of the versions of Python, NumPy, Numba and LLVM, of the CPU, of distcnn's sources
    and, for a function that is defined elsewhere, such as in a user's layer, of its `definitions`. Two copies of
    distcnn with the same sources share a folder.
    """
    filename = function.__code__.co_filename
    if _source_name(filename):
        return _folder(b"")
    if not Path(filename).is_file():  # typed at a prompt
        return None
    key = hashlib.sha256()
    for part in definitions(function):
        key.update(hashlib.sha256(part).digest())
    return _folder(key.digest())


def _folder(key):
    name = hashlib.sha256(_own_key() + key).hexdigest()[:16]
    if not _INSTEAD:
        return _user_folder(name)
    return cache_dir.private_folder(_INSTEAD[-1], name) if _INSTEAD[-1] else None


@cache
def _user_folder(name):
    return cache_dir.folder(name)


_INSTEAD: list[str | None] = []  # not empty inside `in_folder`


@contextmanager
def in_folder(base: str | None) -> Iterator[None]:
    """Cache inside the block in a folder other than the user's, or nowhere; kernels that are loaded already stay."""
    _INSTEAD.append(base)
    try:
        yield
    finally:
        _INSTEAD.pop()


@cache
def _own_key():
    """Return a hash of versions, CPU and distcnn's sources, wherever these lie."""
    key = hashlib.sha256()
    for part in (sys.version, np.__version__, numba.__version__, llvmlite.__version__, *processor()):
        key.update(part.encode() + b"\0")
    for path, name in sources().items():
        key.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return key.digest()


@cache
def sources() -> dict[Path, str]:
    """Return the files of distcnn with kernels, or with what kernels call or use as constants, and their names."""
    found = sorted(path for folder in FOLDERS for path in PACKAGE.glob(f"{folder}/*.py"))
    return {path: path.relative_to(PACKAGE).as_posix() for path in found}


@cache
def _source_name(filename):
    """Return the name of one of distcnn's sources, the same wherever distcnn is installed; None for other files."""
    path = Path(filename)
    return sources().get(path) or sources().get(path.resolve())


# ---- what a function outside of distcnn's sources depends on ----


def definitions(function: Callable) -> Iterator[bytes]:
    """Yield everything that the machine code of a function depends on, in a fixed order.

    This is its bytecode and its file, which may have changed since it was imported; the same for the functions that it
    calls, directly or indirectly; the files of modules among the global names that these use; and the values of
    numbers, strings, tuples and arrays among these names.
    """
    seen, waiting = set(), [function]
    while waiting:
        code, names = waiting[0].__code__, waiting.pop(0).__globals__
        yield _content(code.co_filename)
        yield _instructions(code).encode()
        for name in sorted(_names(code) & names.keys()):
            value = getattr(names[name], "__wrapped__", names[name])  # under Numba's decorators
            if isinstance(value, FunctionType):
                if value not in seen and not _source_name(value.__code__.co_filename):
                    seen.add(value)
                    waiting.append(value)
            elif isinstance(value, ModuleType):
                yield _content(getattr(value, "__file__", None) or value.__name__)
            elif isinstance(value, np.ndarray | np.generic):
                yield f"{name} {value.dtype} {value.shape}".encode() + value.tobytes()
            elif isinstance(value, int | float | complex | str | bytes | tuple):
                yield f"{name} {value!r}".encode()


def _names(code: CodeType):
    """Return the global names that a piece of code uses, together with the names of attributes."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _instructions(code):
    """Return a function's bytecode as a text that is the same in every process."""
    constants = [_instructions(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    texts = [sorted(map(repr, each)) if isinstance(each, frozenset) else repr(each) for each in constants]
    return repr((code.co_code, code.co_names, texts))


def _content(filename):
    """Return the content of a file, or its name if the file cannot be read."""
    try:
        return Path(filename).read_bytes()
    except OSError:
        return filename.encode()


# ---- files ----


class CodeFile:
    """A kernel's file in the cache, in place of Numba's pair of files, which have no checksum.

    function: the function of the kernel.
    place: Numba's folder for the kernel's source; the file lies in the folder above, which is private.
    name: how the file's name begins; kernels of two sources may share it.
    dump: Numba's function from an object to a pickle.
    path: the file that was read or written last; None before.
    """

    def __init__(self, function: Callable, place: Path, name: str, dump: Callable[[object], bytes]):
        self.place, self.name, self.dump = place, name, dump
        self._source = (
            _source_name(function.__code__.co_filename) or place.name
        )  # Numba's has a hash of the path
        self.path: Path | None = None

    def load(self, key: tuple) -> object:
        """Return what was saved with this key, or None; raise whatever reading a damaged file gives."""
        self.path = self._path(key)
        content = checked_file.read(self.path)
        found, data = (None, None) if content is None else pickle.loads(content)
        if found != key:
            return None
        _log("loaded from", self.path)
        return data

    def save(self, key: tuple, data: object) -> None:
        """Save Numba's description of machine code, with the key by which Numba tells signatures and code apart."""
        self.path = self._path(key)
        checked_file.write(self.path, self.dump((key, data)))
        _log("saved to", self.path)

    def _path(self, key):
        kind = hashlib.sha256(repr((self._source, key)).encode()).hexdigest()[:16]
        return self.place.with_name(f"{self.name}.{kind}.nbc")


def _log(what, path):
    """Print what happens to a file, as Numba does under NUMBA_DEBUG_CACHE."""
    if numba.config.DEBUG_CACHE:
        say(f"[cache] data {what} {str(path)!r}")


# ---- errors ----


def discard(file: CodeFile | None, error: Exception) -> None:
    """Delete the file of a kernel that could not be read, and warn; without effect if there is no file to delete.

    file: of the kernel.
    error: why it could not be read.
    """
    if file is None or file.path is None:
        return
    try:
        file.path.unlink()
    except OSError:  # another rank has deleted it, or it cannot be deleted, and saving will fail, too
        return
    _warn(f"{file.path.parent}: a compiled kernel in the cache was damaged ({error!r}); it is compiled again")


def unusable(place: Path | None, error: Exception) -> None:
    """Warn that kernels were compiled but could not be saved in the folder `place` because of `error`."""
    effect = "the next run will compile them again"
    _warn(f"{place}: compiled kernels cannot be cached here ({error!r}); {effect}")


_WARNED = set()  # the first words of warnings that were printed: each is printed once per process


def _warn(text):
    kind = text.partition("(")[0]
    if kind not in _WARNED:
        _WARNED.add(kind)
        warn(text)
