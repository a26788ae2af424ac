"""Elementary functions of Python floats, computed by sums and products, as those of libm differ between machines."""

import math

# log 2: its upper 42 bits, so that n times them is exact, and the rest.
_LN2 = 0.6931471805598903, 5.497923018708371e-14


def exp(x: float) -> float:
    """Return e**x for -700 <= x <= 700, relative error 1e-15: 2**n times the Taylor series of e**(x - n log 2)."""
    n = round(x / (_LN2[0] + _LN2[1]))
    rest = x - n * _LN2[0] - n * _LN2[1]
    power = 1.0
    for k in range(16, 0, -1):
        power = 1.0 + power * rest / k
    return math.ldexp(power, n)


def log(x: float) -> float:
    """Return the natural logarithm of x > 0, absolute or relative error 1e-15: log m + n log 2 with x = m 2**n.

    log m = 2 artanh z with z = (m - 1) / (m + 1), by its series to z**23; |z| is below 0.18.
    """
    m, n = math.frexp(x)
    if m < 0.7071067811865476:
        m, n = 2.0 * m, n - 1
    z = (m - 1.0) / (m + 1.0)
    series = 0.0
    for k in range(23, 1, -2):
        series = (series + 1.0 / k) * z * z
    return n * _LN2[0] + (n * _LN2[1] + 2.0 * (z + z * series))


def power(x: float, exponent: float) -> float:
    """Return x**exponent for x >= 0 and exponent >= 0, relative error 1e-12; results below e**-700 become 0."""
    if not x or not exponent:
        return float(not exponent)
    logarithm = exponent * log(x)
    return exp(logarithm) if logarithm > -700.0 else 0.0


def whole_power(x: float, exponent: int) -> float:
    """Return x**exponent, by repeated squaring, for a whole exponent from 0."""
    result = 1.0
    while exponent:
        result = result * x if exponent % 2 else result
        x, exponent = x * x, exponent // 2
    return result


def half_cosine(x: float) -> float:
    """Return (1 + cos(pi x)) / 2 for x in [0, 1] (0 for x > 1), absolute error 1e-9.

    With y = x - 1/2 the result is (1 - sin(pi y)) / 2; the sine is its Taylor series up to y**15.
    """
    angle = math.pi * (min(x, 1.0) - 0.5)
    square, term, sine = angle * angle, angle, angle
    for k in range(2, 16, 2):
        term *= -square / (k * (k + 1))
        sine += term
    return (1.0 - sine) / 2.0
