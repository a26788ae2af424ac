"""Cache of compiled kernels: a folder for each version of everything that machine code depends on, by a hash of it.

A folder has a file and an index per kernel, whose contents depend on their names alone: any number of jobs can read and
write them at the same time. No error in reading or writing ends a run: kernels are compiled instead, with a warning.
"""

import glob
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import llvmlite
import numba
import numpy as np

from distcnn.lanes.cpu import processor
from distcnn.system import cache_dir

PACKAGE = Path(__file__).resolve().parents[1]


def folder(function: Callable) -> Path | None:
    """Return the folder for the machine code of a kernel function, or None if there can be none.

    Its name is a hash of the versions of Python, NumPy, Numba and LLVM, of the CPU, of distcnn's sources and, for a
    function that is defined elsewhere, as in a user's own layer, of its `definitions`.
    """
    filename = function.__code__.co_filename
    if _is_source(filename):
        return _folder(b"")
    if not Path(filename).is_file():  # typed at a prompt
        return None
    key = hashlib.sha256()
    for part in definitions(function):
        key.update(hashlib.sha256(part).digest())
    return _folder(key.digest())


@cache
def _folder(key):
    return cache_dir.folder(hashlib.sha256(_own_key() + key).hexdigest()[:16])


@cache
def _own_key():
    """Return a hash of versions, CPU and distcnn's sources."""
    key = hashlib.sha256()
    for part in (sys.version, np.__version__, numba.__version__, llvmlite.__version__, *processor()):
        key.update(part.encode() + b"\0")
    for source in _sources():
        key.update(source.read_bytes())
    return key.digest()


@cache
def _sources():
    numbers = PACKAGE / "numerics" / "fixed_point.py"
    return sorted([*PACKAGE.glob("lanes/*.py"), *PACKAGE.glob("kernels/*.py"), numbers])


@cache
def _is_source(filename):
    return Path(filename) in _sources() or Path(filename).resolve() in _sources()


# ---- what a function outside of distcnn's sources depends on ----


def definitions(function: Callable) -> Iterator[bytes]:
    """Yield what a function is compiled from, in a fixed order.

    These are its bytecode and its file, which may have changed since it was imported; those of the functions that it
    names, and that these name in turn; the files of the modules and the values of the numbers, strings, tuples and
    arrays among the global names.
    """
    seen, waiting = set(), [function]
    while waiting:
        code, names = waiting[0].__code__, waiting.pop(0).__globals__
        yield _content(code.co_filename)
        yield _instructions(code).encode()
        for name in sorted(_names(code) & names.keys()):
            value = getattr(names[name], "__wrapped__", names[name])  # under Numba's decorators
            if isinstance(value, FunctionType):
                if value not in seen and not _is_source(value.__code__.co_filename):
                    seen.add(value)
                    waiting.append(value)
            elif isinstance(value, ModuleType):
                yield _content(getattr(value, "__file__", None) or value.__name__)
            elif isinstance(value, np.ndarray | np.generic):
                yield f"{name} {value.dtype} {value.shape}".encode() + value.tobytes()
            elif isinstance(value, int | float | complex | str | bytes | tuple):
                yield f"{name} {value!r}".encode()


def _names(code: CodeType):
    """Return the global names that a piece of code uses, and attributes' names among them."""
    inner = (each for each in code.co_consts if isinstance(each, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _instructions(code):
    """Return a text of a function's bytecode that is the same in every process."""
    constants = [_instructions(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    texts = [sorted(map(repr, each)) if isinstance(each, frozenset) else repr(each) for each in constants]
    return repr((code.co_code, code.co_names, texts))


def _content(filename):
    """Return what is in a file, or its name if it cannot be read."""
    try:
        return Path(filename).read_bytes()
    except OSError:
        return filename.encode()


# ---- errors ----


def discard(place: Path, name: str, error: Exception) -> None:
    """Delete the files of the kernel `name`, which could not be read because of `error`; warn if there were any."""
    for path in place.rglob(f"*.{glob.escape(name)}-*.nb[ci]"):
        try:
            path.unlink()
        except OSError:  # another rank has deleted it; or nobody can, and saving will fail, too
            continue
        _warn(f"{place}: a compiled kernel in the cache was damaged ({error!r}); it is compiled again")


def unusable(place: Path | None, error: Exception) -> None:
    """Warn that kernels were compiled but could not be cached because of `error`."""
    _warn(
        f"{place}: compiled kernels cannot be cached here ({error!r}); the next run will compile them again"
    )


_WARNED = set()  # the first words of warnings: each is given once in a process


def _warn(text):
    kind = text.partition("(")[0]
    if kind not in _WARNED:
        _WARNED.add(kind)
        print(f"distcnn: warning: {text}", file=sys.stderr, flush=True)
