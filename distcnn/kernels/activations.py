"""Activations: sigmoid, hyperbolic tangent, SiLU, GELU and softmax. Shapes: x, y, dx and dy [blocks, c, h, w, 16]."""

from distcnn.kernels.jit import kernel
from distcnn.lanes import exp, fma, load, maximum, normal, sigmoid, splat, store, tanh


@kernel("f4:5 f4:5")
def sigmoid_forward(x, y):
    """y = 1 / (1 + exp(-x))."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    store(y, (n, c, r, q), sigmoid(load(x, (n, c, r, q))))


@kernel("f4:5 f4:5 f4:5")
def sigmoid_backward(y, dy, dx):
    """dx = dy y (1 - y); dx may be dy."""
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            for r in range(y.shape[2]):
                for q in range(y.shape[3]):
                    value = load(y, (n, c, r, q))
                    slope = fma(splat(0.0) - value, value, value)
                    store(dx, (n, c, r, q), load(dy, (n, c, r, q)) * slope)


@kernel("f4:5 f4 f4 f4:5")
def tanh_forward(x, amplitude, slope, y):
    """y = amplitude * tanh(slope * x)."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = tanh(load(x, (n, c, r, q)) * splat(slope))
                    store(y, (n, c, r, q), value * splat(amplitude))


@kernel("f4:5 f4:5 f4 f4 f4:5")
def tanh_backward(y, dy, square, steepest, dx):
    """dx = dy (steepest - square * y**2), steepest = amplitude * slope, square = slope / amplitude; dx may be dy."""
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            for r in range(y.shape[2]):
                for q in range(y.shape[3]):
                    value = load(y, (n, c, r, q))
                    slope = fma(value * splat(-square), value, splat(steepest))
                    store(dx, (n, c, r, q), load(dy, (n, c, r, q)) * slope)


@kernel("f4:5 f4:5")
def silu_forward(x, y):
    """y = x / (1 + exp(-x))."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = load(x, (n, c, r, q))
                    store(y, (n, c, r, q), value * sigmoid(value))


@kernel("f4:5 f4:5 f4:5")
def silu_backward(x, dy, dx):
    """dx = dy (s + x s (1 - s)), s = 1 / (1 + exp(-x)); dx may be dy."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = load(x, (n, c, r, q))
                    s = sigmoid(value)
                    slope = fma(value * s, splat(1.0) - s, s)
                    store(dx, (n, c, r, q), load(dy, (n, c, r, q)) * slope)


@kernel("f4:5 f4:5")
def gelu_forward(x, y):
    """y = x * P(x), P the distribution function of the standard normal distribution (Hendrycks and Gimpel 2016)."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = load(x, (n, c, r, q))
                    _, distribution = normal(value)
                    store(y, (n, c, r, q), value * distribution)


@kernel("f4:5 f4:5 f4:5")
def gelu_backward(x, dy, dx):
    """dx = dy (P(x) + x p(x)), P and p distribution function and density of `gelu_forward`; dx may be dy."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = load(x, (n, c, r, q))
                    density, distribution = normal(value)
                    store(dx, (n, c, r, q), load(dy, (n, c, r, q)) * fma(value, density, distribution))


@kernel("f4:5 f4:5")
def softmax_forward(x, y):
    """y[c] = exp(x[c]) / sum of exp(x) over the channels; subtracting the largest x first keeps exp in range."""
    for n in range(x.shape[0]):
        for r in range(x.shape[2]):
            for q in range(x.shape[3]):
                top = load(x, (n, 0, r, q))
                for c in range(1, x.shape[1]):
                    top = maximum(top, load(x, (n, c, r, q)))
                total = splat(0.0)
                for c in range(x.shape[1]):
                    power = exp(load(x, (n, c, r, q)) - top)
                    total = total + power
                    store(y, (n, c, r, q), power)
                for c in range(x.shape[1]):
                    store(y, (n, c, r, q), load(y, (n, c, r, q)) / total)


@kernel("f4:5 f4:5 f4:5")
def softmax_backward(y, dy, dx):
    """dx[c] = y[c] (dy[c] - sum of dy y over the channels)."""
    for n in range(y.shape[0]):
        for r in range(y.shape[2]):
            for q in range(y.shape[3]):
                mean = splat(0.0)
                for c in range(y.shape[1]):
                    mean = fma(load(dy, (n, c, r, q)), load(y, (n, c, r, q)), mean)
                for c in range(y.shape[1]):
                    store(dx, (n, c, r, q), load(y, (n, c, r, q)) * (load(dy, (n, c, r, q)) - mean))
