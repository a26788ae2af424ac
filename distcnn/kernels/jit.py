"""Decorators of kernels, and how kernels are compiled: the only module with Numba's options.

Every kernel has one signature, fixed beforehand, so that a plan compiles all its kernels when it is made and none
later. The machine code is cached (kernels/kernel_cache).
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property

import numba
import numpy as np
from numba import types

from distcnn.kernels import kernel_cache
from distcnn.kernels.axis import Axis
from distcnn.kernels.numba_abi import Code, Compiler, compiler_lock, optimization_level

__all__ = ["Kernel", "NotCached", "cached_only", "kernel", "specialized"]

OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
LEVEL = 2  # of LLVM's optimization: kernels are as fast as at level 3, which takes LLVM 1.4 times as long


class NotCached(Exception):
    """A kernel is not in the cache, and none shall be compiled."""


class Kernel:
    """A function over arrays, compiled on first use (or by `compiled`) for one signature; arguments are not checked.

    function: what to compile, a Python function that returns None.
    signature: one word per argument: "axis" for an Axis, or a NumPy type code, followed by a colon and the number of
        axes for arrays, as in "f4:5 f4:4 f4:1 i8". Arrays may have any strides, except those marked C, as in "f4:1C",
        which must be contiguous.
    name: unique among the kernels of a module.
    """

    def __init__(self, function: Callable, signature: str, name: str):
        function.__qualname__ = name  # one cache file per specialization
        self.function, self.name = function, name
        self.signature = types.void(*(_numba_type(word) for word in signature.split()))

    @cached_property
    def code(self) -> Code:
        """The machine code, loaded from the cache or compiled now; `cached_only` raises NotCached instead."""
        with compiler_lock, _no_garbage_collection(), optimization_level(LEVEL):
            return _load_or_compile(self)

    @cached_property
    def compiled(self) -> Callable:
        """The machine code as a built-in function, without Numba's dispatch on argument types."""
        return self.code.function

    def __call__(self, *arguments):
        return self.compiled(*arguments)

    def __repr__(self):
        return f"<kernel {self.name}>"


def kernel(signature: str) -> Callable[[Callable], Kernel]:
    """Decorate a function that needs no specialization."""
    return lambda function: Kernel(function, signature, function.__name__)


def specialized(signature: str) -> Callable[[Callable], Callable[..., Kernel]]:
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


# ---- loading and compiling ----

_CACHED_ONLY = []  # not empty inside `cached_only`


@contextmanager
def cached_only() -> Iterator[None]:
    """Raise NotCached inside the block instead of compiling."""
    _CACHED_ONLY.append(True)
    try:
        yield
    finally:
        _CACHED_ONLY.pop()


def _load_or_compile(kernel):
    compiler = _compiler(kernel)
    found = _load(kernel, compiler) if compiler.folder else None
    if found:
        return found
    if _CACHED_ONLY:
        raise NotCached(kernel.name)
    return _compile(kernel, compiler)


def _compiler(kernel):
    """Return a compiler with a cache, or without if there is no folder or Numba does not accept it."""
    folder = None
    try:
        folder = kernel_cache.folder(kernel.function)
        return Compiler(kernel.function, kernel.signature, folder, **OPTIONS)
    except Exception as error:
        kernel_cache.unusable(folder, error)
    return Compiler(kernel.function, kernel.signature, None, **OPTIONS)


def _load(kernel, compiler):
    """Return what the cache holds, or None; delete what cannot be read, whatever Numba and pickle raise for it."""
    try:
        return compiler.load()
    except Exception as error:
        kernel_cache.discard(compiler.folder, kernel.name, error)
        return None


def _compile(kernel, compiler):
    """Compile and save in the cache; if that fails for any reason, compile without the cache, with a warning."""
    if not compiler.folder:
        return compiler.compile()
    try:
        return compiler.compile()
    except Exception as error:
        failure = error
    code = compiler.compiled() or Compiler(kernel.function, kernel.signature, None, **OPTIONS).compile()
    kernel_cache.unusable(compiler.folder, failure)
    return code


@contextmanager
def _no_garbage_collection():
    """Disable garbage collection inside the block: it takes a sixth of the time of compiling."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
