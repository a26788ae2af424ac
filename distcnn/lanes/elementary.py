"""Elementary functions made of fused multiply-adds, over the full range of float32; coefficients: Cephes (Moshier)."""

from numba import njit

from distcnn.lanes.arithmetic import (
    absolute,
    copysign,
    exponent,
    fma,
    mantissa,
    power_of_two,
    rint,
    splat,
    where_greater,
    where_less,
)


@njit(inline="always")
def exp(x):
    """Return e**x within one unit in the last place; inf above 88.7, and below -87 gradually 0.

    2**n is multiplied in two halves, so that neither half leaves the range of normal numbers.
    """
    x = where_less(x, splat(-104.0), splat(-104.0), x)
    x = where_greater(x, splat(89.0), splat(89.0), x)
    n = rint(x * splat(1.44269504))
    r = fma(n, splat(-0.693359375), x)
    r = fma(n, splat(2.12194440e-4), r)
    p = splat(1.9875691500e-4)
    p = fma(p, r, splat(1.3981999507e-3))
    p = fma(p, r, splat(8.3334519073e-3))
    p = fma(p, r, splat(4.1665795894e-2))
    p = fma(p, r, splat(1.6666665459e-1))
    p = fma(p, r, splat(5.0000001201e-1))
    half = rint(n * splat(0.5))
    power = fma(p, r * r, r) + splat(1.0)
    return power * power_of_two(n - half) * power_of_two(half)


@njit(inline="always")
def log(x):
    """Return the natural logarithm of x >= 1 (NaN for NaN)."""
    m, e = mantissa(x), exponent(x)
    half = splat(0.707106781)
    e = where_less(m, half, e - splat(1.0), e)
    m = where_less(m, half, m + m, m) - splat(1.0)
    p = splat(7.0376836292e-2)
    p = fma(p, m, splat(-1.1514610310e-1))
    p = fma(p, m, splat(1.1676998740e-1))
    p = fma(p, m, splat(-1.2420140846e-1))
    p = fma(p, m, splat(1.4249322787e-1))
    p = fma(p, m, splat(-1.6668057665e-1))
    p = fma(p, m, splat(2.0000714765e-1))
    p = fma(p, m, splat(-2.4999993993e-1))
    p = fma(p, m, splat(3.3333331174e-1))
    z = m * m
    y = p * m * z
    y = fma(e, splat(-2.12194440e-4), y)
    y = fma(z, splat(-0.5), y)
    return fma(e, splat(0.693359375), m + y) + (x - x)


@njit(inline="always")
def sigmoid(x):
    """Return 1 / (1 + e**-x) within two units in the last place, from e**-|x|, which cannot overflow.

    The quotient is corrected by its remainder and by the rounding error of 1 + e**-|x|; for the correction, a rough
    approximation of 1 / sum is enough.
    """
    zero, one = splat(0.0), splat(1.0)
    power = exp(zero - absolute(x))
    total = one + power
    lost = power - (total - one)
    numerator = where_less(x, zero, power, one)
    quotient = numerator / total
    remainder = fma(zero - quotient, lost, fma(zero - quotient, total, numerator))
    return fma(remainder, fma(total, splat(-0.5), splat(1.457)), quotient)


@njit(inline="always")
def tanh(x):
    """Return the hyperbolic tangent within two units in the last place; beyond 0.625 it is 1 - 2 / (e**2x + 1)."""
    magnitude, z, one = absolute(x), x * x, splat(1.0)
    p = splat(-5.70498872745e-3)
    p = fma(p, z, splat(2.06390887954e-2))
    p = fma(p, z, splat(-5.37397155531e-2))
    p = fma(p, z, splat(1.33314422036e-1))
    p = fma(p, z, splat(-3.33332819422e-1))
    beyond = one - splat(2.0) / (exp(magnitude + magnitude) + one)
    return where_less(magnitude, splat(0.625), fma(p * z, x, x), copysign(beyond, x))


@njit(inline="always")
def normal(x):
    """Return density and distribution function of the standard normal distribution, relative error below 1e-6.

    Below 0 the distribution function is e**(-x**2 / 2) times a polynomial in u = 1 / (1 + 0.3 |x|), fitted to scaled
    erfc by Chebyshev interpolation. x**2 is the sum of two float32, as exp amplifies its rounding error 100 times.
    """
    t, one = absolute(x), splat(1.0)
    t = where_greater(t, splat(20.0), splat(20.0), t)
    square = t * t
    power = exp(square * splat(-0.5))
    power = fma(power * splat(-0.5), fma(t, t, splat(0.0) - square), power)
    u = one / fma(t, splat(0.3), one)
    p = splat(-0.020233202)
    p = fma(p, u, splat(0.110388136))
    p = fma(p, u, splat(-0.223588656))
    p = fma(p, u, splat(0.185899561))
    p = fma(p, u, splat(-0.0747908665))
    p = fma(p, u, splat(0.0938258548))
    p = fma(p, u, splat(0.0791364597))
    p = fma(p, u, splat(0.110089070))
    p = fma(p, u, splat(0.119587679))
    p = fma(p, u, splat(0.119685967))
    tail = power * (p * u)
    return power * splat(0.39894228), where_less(x, splat(0.0), tail, one - tail)


@njit(inline="always")
def sine_and_cosine(x):
    """Return the sine and the cosine of -pi <= x <= pi within 1e-6, by their Taylor series; at 0 exactly 0 and 1."""
    z = splat(0.0) - x * x
    s = c = splat(1.0)
    for k in range(18, 0, -2):
        c = fma(c, z * splat(1.0 / (k * (k - 1))), splat(1.0))
        s = fma(s, z * splat(1.0 / (k * (k + 1))), splat(1.0))
    return s * x, c
