"""The floating-point mode of threads that run kernels: IEEE arithmetic, whatever mode other libraries have set.

The mode is a control register: MXCSR on x86, FPCR on AArch64 (Arm Architecture Reference Manual, C5.2.8). On other
processors the mode is left as it is; `python -m distcnn.verify --self` tells whether their bits are those of these two.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache, wraps
from typing import ParamSpec, TypeVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from distcnn.kernels.jit import kernel
from distcnn.lanes.cpu import IS_AARCH64, IS_X86
from distcnn.lanes.types import BYTE, INT, LONG, call

# Rounding to nearest, with denormals, exceptions masked. In FPCR a zero in each of FZ, FZ16, FIZ, AH, DN and RMode.
IEEE_MODE = 0x1F80 if IS_X86 else 0

T = TypeVar("T")
Arguments = ParamSpec("Arguments")


@intrinsic
def _swap(typing, new):
    """Set the floating-point control register and return its previous value, both as an int64."""
    return types.int64(types.int64), _swap_mxcsr if IS_X86 else _swap_fpcr


def _swap_mxcsr(context, builder, signature, arguments):
    """Emit the code for x86, whose register has 32 bits and is read and written through memory."""
    place = builder.alloca(INT)
    address = builder.bitcast(place, BYTE.as_pointer())
    call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), address)
    old = builder.load(place)
    builder.store(builder.trunc(arguments[0], INT), place)
    call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), address)
    return builder.zext(old, LONG)


def _swap_fpcr(context, builder, signature, arguments):
    """Emit the code for AArch64."""
    old = call(builder, "llvm.aarch64.get.fpcr", LONG)
    call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), arguments[0])
    return old


@kernel("i8 i8:1")
def set_float_mode(mode, previous):
    """Set the floating-point control register of this thread to `mode`; previous[0] = its value before."""
    previous[0] = _swap(mode)


class ieee_mode:
    """A context manager: compute with denormals and rounding to nearest, then restore the mode of the thread."""

    def __enter__(self) -> None:
        self._set, self._previous = _mode_setter(), np.empty(1, np.int64)
        self._set(IEEE_MODE, self._previous)

    def __exit__(self, *exception) -> None:
        self._set(int(self._previous[0]), self._previous)


def in_ieee_mode(function: Callable[Arguments, T]) -> Callable[Arguments, T]:
    """Decorate a function that computes with floats in Python or NumPy, so that its calls are in `ieee_mode`."""

    @wraps(function)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> T:
        with ieee_mode():
            return function(*arguments, **named)

    return call


def each_in_ieee_mode(values: Iterable[T]) -> Iterator[T]:
    """Yield values, of which each is computed in `ieee_mode`; between them the mode of the thread is as it was."""
    waiting = iter(values)
    while True:
        with ieee_mode():
            try:
                value = next(waiting)
            except StopIteration:
                return
        yield value


def compile_kernels() -> None:
    """Load the kernels of this module from the cache, or compile them."""
    _mode_setter()


@cache
def kernels() -> tuple:
    """Return the kernels of this module that this processor can run."""
    return (set_float_mode,) if IS_X86 or IS_AARCH64 else ()


@cache
def _mode_setter():
    """Return the compiled `set_float_mode`, or a function that does nothing on other processors."""
    return set_float_mode.compiled if kernels() else lambda mode, previous: None
