"""Arithmetic on Lanes, separately in each lane, with the same bits on every CPU.

The only operations are additions, products, quotients, square roots and fused multiply-adds, which round correctly.
Comparisons are ordered (false for NaN) and written so that they propagate NaN.
"""

import operator

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from distcnn.lanes.types import FLOAT, FLOATS, INTS, broadcast, call, constant, lanes


def emit_fma(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """Emit code for x * y + z, rounded once."""
    return call(builder, "llvm.fma.v16f32", FLOATS, x, y, z)


def emit_where_positive(builder: ir.IRBuilder, test: ir.Value, value: ir.Value) -> ir.Value:
    """Emit code for value where test > 0 or NaN, else 0."""
    zero = constant(0.0)
    return builder.select(builder.fcmp_ordered("<=", test, zero), zero, value)


def _maximum(builder, x, y):
    above, is_nan = builder.fcmp_ordered(">", y, x), builder.fcmp_unordered("uno", y, y)
    return builder.select(builder.or_(above, is_nan), y, x)


def _power_of_two(builder, x):
    """Return 2**x for whole x in -126..127: adding 1.5 * 2**23 leaves x in the low bits of the float."""
    bits = builder.bitcast(builder.fadd(x, constant(12582912.0)), INTS)
    return builder.bitcast(builder.shl(builder.add(bits, constant(127, INTS)), constant(23, INTS)), FLOATS)


def _mantissa(builder, x):
    """Return the mantissa of x > 0, in [0.5, 1)."""
    bits = builder.and_(builder.bitcast(x, INTS), constant(0x007FFFFF, INTS))
    return builder.bitcast(builder.or_(bits, constant(0x3F000000, INTS)), FLOATS)


def _exponent(builder, x):
    """Return e of x = mantissa * 2**e, x > 0."""
    bits = builder.lshr(builder.bitcast(x, INTS), constant(23, INTS))
    return builder.sitofp(builder.sub(bits, constant(126, INTS)), FLOATS)


def _unary(emit):
    @intrinsic
    def operation(typing, x):
        return lanes(x), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return operation


def _binary(emit):
    @intrinsic
    def operation(typing, x, y):
        return lanes(x, y), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return operation


def _ternary(emit):
    @intrinsic
    def operation(typing, x, y, z):
        return lanes(x, y, z), lambda context, builder, signature, arguments: emit(builder, *arguments)

    return operation


def _selection(comparison):
    @intrinsic
    def operation(typing, x, y, yes, no):
        def generate(context, builder, signature, arguments):
            a, b, p, q = arguments
            return builder.select(builder.fcmp_ordered(comparison, a, b), p, q)

        return lanes(x, y, yes, no), generate

    return operation


add = _binary(lambda builder, x, y: builder.fadd(x, y))
subtract = _binary(lambda builder, x, y: builder.fsub(x, y))
multiply = _binary(lambda builder, x, y: builder.fmul(x, y))
divide = _binary(lambda builder, x, y: builder.fdiv(x, y))
fma = _ternary(emit_fma)  # x * y + z, rounded once
maximum = _binary(_maximum)  # the first of equals; NaN if either is
where_positive = _binary(emit_where_positive)  # (test, value): value where test > 0 or NaN, else 0
where_greater = _selection(">")  # (x, y, yes, no)
where_less = _selection("<")
where_equal = _selection("==")
rint = _unary(lambda builder, x: call(builder, "llvm.rint.v16f32", FLOATS, x))
floor = _unary(lambda builder, x: call(builder, "llvm.floor.v16f32", FLOATS, x))
absolute = _unary(lambda builder, x: call(builder, "llvm.fabs.v16f32", FLOATS, x))
square_root = _unary(lambda builder, x: call(builder, "llvm.sqrt.v16f32", FLOATS, x))  # rounded correctly
copysign = _binary(lambda builder, x, y: call(builder, "llvm.copysign.v16f32", FLOATS, x, y))  # |x|, y's sign
power_of_two = _unary(_power_of_two)
mantissa = _unary(_mantissa)
exponent = _unary(_exponent)


@intrinsic
def splat(typing, x):
    """Return the number x in every lane."""

    def generate(context, builder, signature, arguments):
        return broadcast(builder, context.cast(builder, arguments[0], signature.args[0], types.float32))

    return lanes(x), generate


def _overload(symbol, implementation):
    @overload(symbol)
    def operator_of_lanes(x, y):
        if x is lanes and y is lanes:
            return lambda x, y: implementation(x, y)
        return None


_overload(operator.add, add)
_overload(operator.sub, subtract)
_overload(operator.mul, multiply)
_overload(operator.truediv, divide)


@intrinsic
def fma_scalar(typing, x, y, z):
    """Return x * y + z of three float32, rounded once."""

    def generate(context, builder, signature, arguments):
        return call(builder, "llvm.fma.f32", FLOAT, *arguments)

    return types.float32(types.float32, types.float32, types.float32), generate
