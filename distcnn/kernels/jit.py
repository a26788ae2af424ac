"""The decorators of kernels, and their compilation. This is the only module that sets Numba's options.

Every kernel has one signature, given in advance, so that all kernels of a plan are compiled when the plan is made, and
none later. The machine code is cached (kernels/kernel_cache).
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

import numba
import numpy as np
from numba import types

from distcnn.kernels import kernel_cache
from distcnn.kernels.axis import Axis
from distcnn.kernels.numba_abi import Code, Compiler, compiler_lock, optimization_level

__all__ = ["Kernel", "NotCached", "cached_only", "kernel", "specialized"]

OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": False}
LEVEL = 2  # LLVM's level of optimization; at level 3, kernels are not faster but take 1.4 times as long to compile


class NotCached(Exception):
    """A kernel is not in the cache, and `cached_only` forbids compiling it."""


class Kernel:
    """A function over arrays, compiled for one signature on the first call or access to `compiled`.

    Arguments of calls are not checked.

    function: the Python function to compile; it must return None.
    signature: one word per argument: "axis" for an Axis, or a NumPy type code, followed by a colon and the number of
        axes for arrays, as in "f4:5 f4:4 f4:1 i8". Arrays may have any strides, unless they are marked C, as in
        "f4:1C"; then they must be contiguous.
    name: a name that is unique among the kernels of a module.
    """

    def __init__(self, function: Callable, signature: str, name: str) -> None:
        function.__qualname__ = name  # one cache file per specialization
        self.function, self.name = function, name
        self.signature = types.void(*(_numba_type(word) for word in signature.split()))

    @cached_property
    def code(self) -> Code:
        """The machine code, loaded from the cache or else compiled; raises NotCached instead inside `cached_only`."""
        with compiler_lock, _no_garbage_collection(), optimization_level(LEVEL):
            return _load_or_compile(self)

    @cached_property
    def compiled(self) -> Callable:
        """The machine code as a built-in function, without Numba's dispatch on argument types."""
        return self.code.function

    def __call__(self, *arguments: Any) -> None:
        return self.compiled(*arguments)

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"


def kernel(signature: str) -> Callable[[Callable], Kernel]:
    """Decorate a function to make it a kernel; signature: see `Kernel`."""
    return lambda function: Kernel(function, signature, function.__name__)


def specialized(signature: str) -> Callable[[Callable], Callable[..., Kernel]]:
    """Decorate a function that returns a kernel function, so that it returns a kernel.

    The arguments of the decorated function are compile-time constants of the kernel.

    signature: the signature of the kernels, see `Kernel`.
    """

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
    """Return the code in the cache, or None; delete a file that cannot be read, whatever exception it causes."""
    try:
        return compiler.load()
    except Exception as error:
        kernel_cache.discard(compiler.file, error)
        return None


def _compile(kernel, compiler):
    """Compile, and save the code in the cache; if saving fails for any reason, warn and use the code without it."""
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
    """Disable garbage collection inside the block, since it would be a sixth of the time of compiling."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
