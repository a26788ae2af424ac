"""Random numbers as a function of a counter, by Philox4x32-10 (Salmon et al. 2011), for one sample in each lane."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from distcnn.lanes.types import BYTE, FLOATS, INT, INTS, LONG, LONGS, broadcast, constant, lanes

PAIRS = ir.VectorType(LONG, 8)
ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
HALF, LOWER, UPPER = (ir.Constant(PAIRS, [n] * 8) for n in (32, 0xFFFFFFFF, 0xFFFFFFFF << 32))


@intrinsic
def uniform(typing, seed, position, stream, samples, epoch):
    """Return four Lanes of numbers in [0, 1), multiples of 2**-24, for the sample in each lane.

    The counter of Philox is the lower 32 bits of (position, stream, sample, epoch).

    seed: int64, the key of Philox.
    position, stream, epoch: int64.
    samples: int64 [16], contiguous.
    """

    def generate(context, builder, signature, arguments):
        key, position, stream, samples, epoch = arguments
        header = context.make_array(signature.args[3])(context, builder, samples)
        address = builder.bitcast(header.data, BYTE.as_pointer())
        numbers = builder.load(builder.bitcast(address, LONGS.as_pointer()), align=8)
        spread = [_splat(builder, builder.trunc(word, INT)) for word in (position, stream, epoch)]
        counter = [spread[0], spread[1], builder.trunc(numbers, INTS), spread[2]]
        halves = key, builder.lshr(key, ir.Constant(LONG, 32))
        keys = [_splat(builder, builder.trunc(half, INT)) for half in halves]
        words = _philox(builder, counter, keys)
        scaled = [builder.sitofp(builder.lshr(word, constant(8, INTS)), FLOATS) for word in words]
        return cgutils.pack_array(builder, [builder.fmul(x, constant(2.0**-24)) for x in scaled])

    whole = types.int64
    return types.UniTuple(lanes, 4)(whole, whole, whole, samples, whole), generate


def _philox(builder, counter, keys):
    """Return Philox's four words for a counter and a key; words: LLVM vectors of sixteen int32."""
    c, k = list(counter), list(keys)
    for _ in range(ROUNDS):
        high0, low0 = _product(builder, c[0], MULTIPLIERS[0])
        high1, low1 = _product(builder, c[2], MULTIPLIERS[1])
        first = builder.xor(builder.xor(high1, c[1]), k[0])
        third = builder.xor(builder.xor(high0, c[3]), k[1])
        c = [first, low1, third, low0]
        k = [builder.add(word, constant(step, INTS)) for word, step in zip(k, KEY_STEPS, strict=True)]
    return c


def _product(builder, word, factor):
    """Return the upper and the lower half of word * factor.

    Even and odd lanes are multiplied separately, each pair of lanes as one int64: converting all sixteen to int64 takes
    1.5 times as long.
    """
    pairs, factors = builder.bitcast(word, PAIRS), ir.Constant(PAIRS, [factor] * 8)
    even = builder.mul(builder.and_(pairs, LOWER), factors)
    odd = builder.mul(builder.lshr(pairs, HALF), factors)
    high = builder.or_(builder.lshr(even, HALF), builder.and_(odd, UPPER))
    low = builder.or_(builder.and_(even, LOWER), builder.shl(odd, HALF))
    return builder.bitcast(high, INTS), builder.bitcast(low, INTS)


def _splat(builder, word):
    return broadcast(builder, word, INTS)
