"""Files in the working folder that hide modules: Python looks there first, and finds numpy.py instead of NumPy.

A command that fails while it imports what it needs says in one line which file hides what, in place of a traceback. It
costs nothing otherwise: only what was imported is looked at, and only after a failure.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from types import TracebackType

from distcnn.system.terminal_text import say

LIBRARIES = {"numpy", "numba", "llvmlite", "h5py", "mpi4py", "tqdm", "matplotlib", "PIL", "tomli", "tomli_w"}
LIBRARIES |= {"scipy"}  # which Numba imports where it is installed
USAGE_ERROR = 2  # the exit code
PAUSE = 1  # seconds that other ranks wait for rank 0, which prints the line


def explain_failed_imports(prints: bool) -> None:
    """Let an exception that a hidden module has caused end this process with one line and exit code 2.

    prints: whether this process prints the line, as rank 0 does.
    """
    before = sys.excepthook

    def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = explanation(trace)
        if message is None:
            return before(kind, error, trace)
        if prints:
            say(message, sys.stderr)
        else:
            time.sleep(PAUSE)
        sys.exit(USAGE_ERROR)

    sys.excepthook = explain


def explanation(trace: TracebackType | None) -> str | None:
    """Return the line on a file in the working folder that may have caused an exception, None if there is none.

    trace: of the exception.
    """
    found = next(_hiding(trace), None)
    if found is None:
        return None
    name = found.parent.name if found.stem == "__init__" else found.stem
    return f"distcnn: error: {found} hides the module {name}: rename it, or start in another folder"


def hidden_install(package: Path) -> Path | None:
    """Return the folder of another distcnn that the one in the working folder hides, or None.

    If the working folder is on sys.path twice, as with PYTHONPATH, it was chosen on purpose.

    package: the folder of the distcnn that is in use.
    """
    here = [place for place in sys.path if _is_here(place)]
    if len(here) != 1 or package.parent.resolve() != Path.cwd().resolve():
        return None
    found = PathFinder.find_spec("distcnn", [place for place in sys.path if place not in here])
    other = Path(found.origin).parent if found and found.origin else package
    return None if other.resolve() == package.resolve() else other


def _hiding(trace: TracebackType | None) -> Iterator[Path]:
    """Yield the files of the working folder that were imported under the name of a module of Python or a library.

    trace: of an exception; a module in which it was raised is no longer among those that are imported.
    """
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    while trace:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    for path in (Path(os.path.abspath(file)) for file in files if file):
        folder, name = path.parent, path.stem
        if name == "__init__":
            folder, name = folder.parent, folder.name
        if name in LIBRARIES | sys.stdlib_module_names and _is_here(str(folder)) and _is_elsewhere(name):
            yield path


def _is_here(place: str) -> bool:
    """Return whether an entry of sys.path is the working folder."""
    with suppress(OSError):
        return os.path.samefile(place or ".", ".")
    return False


def _is_elsewhere(name: str) -> bool:
    """Return whether a module is found without the working folder, too."""
    places = [place for place in sys.path if not _is_here(place)]
    return name in sys.builtin_module_names or PathFinder.find_spec(name, places) is not None
