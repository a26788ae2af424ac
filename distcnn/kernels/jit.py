"""How kernels are compiled and cached, and threads kept in IEEE arithmetic: the only place with Numba's options.

Every kernel has one signature, fixed beforehand, so that a plan compiles all it needs when it is made and nothing
later. The cache is a folder whose name holds a hash of all sources, versions and the processor, with one file per
kernel whose content follows from its name: any number of jobs can read and write it at the same time.
"""

import contextlib
import gc
import hashlib
import sys
from functools import cache, cached_property
from pathlib import Path

import llvmlite
import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import config as numba_config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.extending import intrinsic

from distcnn.kernels.axis import Axis
from distcnn.lanes.cpu import processor, vector_registers
from distcnn.lanes.types import BYTE, INT, call
from distcnn.system import cache_dir

__all__ = ["Kernel", "ieee_mode", "kernel", "processor", "specialised", "vector_registers"]


class NotCached(Exception):
    """A kernel is not in the cache, and none shall be compiled."""


class Kernel:
    """A function over arrays, compiled on first use (or by `compiled`) for one signature.

    `signature` is one word per argument: "axis" for an Axis, or a NumPy type code, and for arrays a colon and the
    number of axes, as in "f4:5 f4:4 f4:1 i8"; arrays may have any strides, except those marked C, as in "f4:1C", which
    must be contiguous. Arguments are not checked.
    """

    def __init__(self, function, signature, name):
        function.__qualname__ = name  # one cache file per specialisation
        self.function, self.name = function, name
        self.signature = types.void(*(_numba_type(word) for word in signature.split()))

    @cached_property
    def result(self):
        """What Numba has compiled, or found in the cache."""
        options = {"nogil": True, "error_model": "numpy", "boundscheck": False}
        with _cache_folder() as cached, global_compiler_lock, _no_garbage_collection(), _optimised_enough():
            dispatcher = njit(cache=cached, **options)(self.function)
            found = _loaded(dispatcher, self.signature) if cached else None
            if found is None:
                if _CACHED_ONLY:
                    raise NotCached(self.name)
                dispatcher.compile(self.signature)
                found = dispatcher.overloads[self.signature.args]
        self._dispatcher = dispatcher  # owns the code
        return found

    @cached_property
    def compiled(self):
        """The machine code as a built-in function, without Numba's dispatch on argument types."""
        return self.result.entry_point

    def __call__(self, *arguments):
        return self.compiled(*arguments)

    def __repr__(self):
        return f"<kernel {self.name}>"


def kernel(signature):
    """Decorate a function that needs no specialisation."""
    return lambda function: Kernel(function, signature, function.__name__)


def specialised(signature):
    """Decorate a factory: its arguments become compile-time constants of the kernel function that it returns."""

    def decorate(factory):
        @cache
        def make(*constants):
            name = "_".join([factory.__name__, *(str(int(c)) for c in constants)])
            return Kernel(factory(*constants), signature, name)

        make.__doc__, make.__name__ = factory.__doc__, factory.__name__
        return make

    return decorate


def _numba_type(word):
    if word == "axis":
        return types.NamedUniTuple(types.int64, len(Axis._fields), Axis)
    code, _, axes = word.partition(":")
    scalar = numba.from_dtype(np.dtype(code))
    return types.Array(scalar, int(axes[0]), axes[1:] or "A") if axes else scalar


# ---- the cache ----

_CACHED_ONLY = []  # not empty inside `cached_only`


@contextlib.contextmanager
def cached_only():
    """Raise NotCached inside the block instead of compiling."""
    _CACHED_ONLY.append(True)
    try:
        yield
    finally:
        _CACHED_ONLY.pop()


def _loaded(dispatcher, signature):
    """Return what Numba's cache holds for a signature, or None.

    Asked in its public way, Numba makes itself ready to compile first, which takes half of a warm start: it imports
    another hundred of its modules, and SciPy where that is installed.
    """
    rtsys.initialize(dispatcher.targetctx)  # what every kernel is linked to
    try:
        return dispatcher._cache._load_overload(signature, dispatcher.targetctx)
    except (AttributeError, OSError):  # another version of Numba, or a file that went away: compile then
        return None


@cache
def cache_path() -> Path | None:
    """Return the folder for compiled kernels, or None if no folder of ours can be written."""
    package = Path(__file__).resolve().parents[1]
    numbers = package / "numerics" / "fixed_point.py"
    sources = sorted([*package.glob("lanes/*.py"), *package.glob("kernels/*.py"), numbers])
    key = hashlib.sha256()
    for part in (sys.version, np.__version__, numba.__version__, llvmlite.__version__, *processor()):
        key.update(part.encode() + b"\0")
    for source in sources:
        key.update(source.read_bytes())
    return cache_dir.folder(key.hexdigest()[:16])


@contextlib.contextmanager
def _cache_folder():
    """Let Numba cache in our folder inside the block; yield whether there is one."""
    path, previous = cache_path(), numba_config.CACHE_DIR
    numba_config.CACHE_DIR = str(path or "")
    try:
        yield path is not None
    finally:
        numba_config.CACHE_DIR = previous


@contextlib.contextmanager
def _no_garbage_collection():
    """Leave out the search for garbage inside the block: it takes a sixth of the time in which Numba compiles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _optimised_enough():
    """Let LLVM optimise by its level 2: kernels are as fast as by 3, at which it takes 1.4 times as long."""
    previous = numba_config.OPT
    numba_config.OPT = type(previous)(2)
    try:
        yield
    finally:
        numba_config.OPT = previous


# ---- IEEE mode ----

_DEFAULT_MXCSR = 0x1F80  # round to nearest, denormals kept, exceptions masked


@intrinsic
def _swap_mxcsr(typing, new):
    """Set the x86 floating-point control register and return what it held."""

    def generate(context, builder, signature, arguments):
        place = builder.alloca(INT)
        address = builder.bitcast(place, BYTE.as_pointer())
        call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), address)
        old = builder.load(place)
        builder.store(arguments[0], place)
        call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), address)
        return old

    return types.int32(types.int32), generate


@kernel("i4 i4:1")
def set_float_mode(mode, previous):
    """Set the thread's floating-point mode (x86's MXCSR); previous[0] becomes the mode it was in."""
    previous[0] = _swap_mxcsr(mode)


class ieee_mode:
    """Compute with denormals and rounding to nearest, whatever another library has set in this thread."""

    def __enter__(self):
        self._set, self._previous = _mode_setter(), np.empty(1, np.int32)
        self._set(_DEFAULT_MXCSR, self._previous)

    def __exit__(self, *exception):
        self._set(int(self._previous[0]), self._previous)


@cache
def _mode_setter():
    """Return the compiled `set_float_mode`; off x86 the default mode is all we know, and nothing is to be set."""
    is_x86 = cpu_target.target_context.codegen().magic_tuple()[0].startswith("x86_64")
    return set_float_mode.compiled if is_x86 else lambda mode, previous: None
