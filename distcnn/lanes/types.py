"""The Lanes type: sixteen float32, one per sample, which Numba kernels handle as one number.

An activation is an array [blocks, channels, rows, columns, 16]. Its last axis fills one SIMD register of 512 bits, or
two of 256, so that every kernel is vectorized over samples, whatever the shape of the layer. A *tile* is a tuple of
Lanes that the compiler keeps in registers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

LANES = 16

FLOAT, DOUBLE = ir.FloatType(), ir.DoubleType()
BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
FLOATS, BYTES, INTS, LONGS = (ir.VectorType(element, LANES) for element in (FLOAT, BYTE, INT, LONG))
DOUBLES = ir.VectorType(DOUBLE, LANES)


class LanesType(types.Type):
    """Numba's view of sixteen float32 values, an LLVM <16 x float>."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


lanes = LanesType()


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    """Numba's data model of Lanes: they are passed in registers, like a number."""

    def __init__(self, manager: Any, fe_type: types.Type) -> None:
        super().__init__(manager, fe_type, FLOATS)


def aligned(shape: int | tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> np.ndarray:
    """Return an array of zeros that begins at the beginning of a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


# ---- LLVM code for intrinsics ----


def constant(value: float, vector: ir.VectorType = FLOATS) -> ir.Constant:
    """Return an LLVM constant with `value` in every lane."""
    return ir.Constant(vector, [value] * LANES)


def call(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    """Emit a call of the LLVM intrinsic `name` with a result of type `result`."""
    signature = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def shuffle(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, indices: list[int]) -> ir.Value:
    """Return the lanes `indices` of x followed by y."""
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(INT, len(indices)), indices))


def broadcast(builder: ir.IRBuilder, scalar: ir.Value, vector: ir.VectorType = FLOATS) -> ir.Value:
    """Return the scalar in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, undefined, constant(0, INTS))


def unpack(builder: ir.IRBuilder, value: ir.Value, numba_type: types.BaseTuple) -> list[ir.Value]:
    """Return the elements of a tuple as a list."""
    return [builder.extract_value(value, k) for k in range(numba_type.count)]


def unpack_all(builder: ir.IRBuilder, arguments: list[ir.Value], signature: Any) -> list[list[ir.Value]]:
    """Return the elements of each argument of an intrinsic as a list; all arguments must be tuples."""
    return [unpack(builder, value, kind) for value, kind in zip(arguments, signature.args, strict=True)]


def literals(*numba_types: types.Type) -> bool:
    """Return whether all of these are types of compile-time integers."""
    return all(isinstance(t, types.IntegerLiteral) for t in numba_types)


def writable_view(array: np.ndarray) -> np.ndarray:
    """Return a writable view of an array, since Numba's dispatcher accepts no read-only arrays for our signatures."""
    if array.flags.writeable:
        return array
    described = dict(array.__array_interface__, data=(array.ctypes.data, False))
    owner = type("Described", (), {"__array_interface__": described, "array": array})
    return np.asarray(owner())
