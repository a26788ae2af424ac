"""The floating-point mode of threads that run kernels: IEEE arithmetic, whatever mode other libraries have set.

The mode is the register MXCSR of x86. On other machines this module does nothing.
"""

import platform
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from distcnn.kernels.jit import kernel
from distcnn.lanes.types import BYTE, INT, call

DEFAULT_MXCSR = 0x1F80  # rounding to nearest, with denormals, exceptions masked


@intrinsic
def _swap_mxcsr(typing, new):
    """Set the floating-point control register of x86 and return its previous value."""

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
    """Set the floating-point mode of this thread (the MXCSR of x86); previous[0] = the mode before."""
    previous[0] = _swap_mxcsr(mode)


class ieee_mode:
    """A context manager: compute with denormals and rounding to nearest, then restore the mode of the thread."""

    def __enter__(self) -> None:
        self._set, self._previous = _mode_setter(), np.empty(1, np.int32)
        self._set(DEFAULT_MXCSR, self._previous)

    def __exit__(self, *exception) -> None:
        self._set(int(self._previous[0]), self._previous)


@cache
def _mode_setter():
    """Return the compiled `set_float_mode`, or a function that does nothing if this is not an x86 machine."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return set_float_mode.compiled if is_x86 else lambda mode, previous: None
