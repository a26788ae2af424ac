"""Functions of one number that reach weights, from products and sums alone: libm differs by machine."""

import math

_LN2 = (
    0.6931471805598903,
    5.497923018708371e-14,
)  # its upper 42 bits, so that n times it is exact, and the rest


def exp(x):
    """Return e**x for -700 <= x <= 700 within 1e-15 of itself: 2**n times the Taylor series of the rest."""
    n = round(x / (_LN2[0] + _LN2[1]))
    rest = x - n * _LN2[0] - n * _LN2[1]
    power = 1.0
    for k in range(16, 0, -1):
        power = 1.0 + power * rest / k
    return math.ldexp(power, n)
