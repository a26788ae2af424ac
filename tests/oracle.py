"""The naive versions of all layers, in float64, as the formulas say: slow, plain, and importing nothing of distcnn."""

import numpy as np


def convolve(x, weight, bias, stride, padding):
    """Slide every filter over every image: x [n, c, h, w], weight [o, c, k, k] -> [n, o, oh, ow]."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    n, _, h, w = x.shape
    o, _, kh, kw = weight.shape
    oh, ow = (h - kh) // stride + 1, (w - kw) // stride + 1
    y = np.zeros((n, o, oh, ow))
    for r in range(oh):
        for q in range(ow):
            window = x[:, None, :, r * stride : r * stride + kh, q * stride : q * stride + kw]
            y[:, :, r, q] = (window * weight).sum(axis=(2, 3, 4)) + bias
    return y


def convolve_backward(x, weight, dy, stride, padding):
    """Return dx, the gradient of the weights and that of the bias: each product's share goes back to its factors."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    dx, dweight = np.zeros_like(x), np.zeros(weight.shape)
    kh, kw = weight.shape[2:]
    for r in range(dy.shape[2]):
        for q in range(dy.shape[3]):
            rows, columns = slice(r * stride, r * stride + kh), slice(q * stride, q * stride + kw)
            share = dy[:, :, r, q].astype(np.float64)
            dx[:, :, rows, columns] += np.einsum("no,ocij->ncij", share, weight.astype(np.float64))
            dweight += np.einsum("no,ncij->ocij", share, x[:, :, rows, columns])
    h, w = x.shape[2] - padding, x.shape[3] - padding
    return dx[:, :, padding:h, padding:w], dweight, dy.sum(axis=(0, 2, 3), dtype=np.float64)


def windows(size, kernel_size, stride, padding, ceil_mode):
    """Return the slices of all windows along an axis, cut off at the image's edges."""
    room = size + 2 * padding - kernel_size
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    starts = [k * stride - padding for k in range(count)]
    return [slice(max(0, s), min(size, s + kernel_size)) for s in starts if s < size]


def max_pool(x, kernel_size, stride, padding, ceil_mode):
    """Return the largest of each window."""
    rows, columns = (windows(n, kernel_size, stride, padding, ceil_mode) for n in x.shape[2:])
    return np.array([[x[:, :, r, q].max(axis=(2, 3)) for q in columns] for r in rows]).transpose(2, 3, 0, 1)


def max_pool_backward(x, dy, kernel_size, stride, padding, ceil_mode):
    """Send each window's gradient to its first largest element in row order."""
    dx = np.zeros(x.shape)
    rows, columns = (windows(n, kernel_size, stride, padding, ceil_mode) for n in x.shape[2:])
    for n, c in np.ndindex(x.shape[:2]):
        for i, r in enumerate(rows):
            for j, q in enumerate(columns):
                window = x[n, c, r, q]
                a, b = np.unravel_index(window.argmax(), window.shape)
                dx[n, c, r.start + a, q.start + b] += dy[n, c, i, j]
    return dx


def softmax_cross_entropy(logits, labels, rejection=None, smoothing=0.0):
    """Return the mean loss and its gradient with respect to the logits; rejection: the logit of one more class."""
    logits = logits.astype(np.float64)
    if rejection is not None:
        loss, gradient = softmax_cross_entropy(
            np.column_stack([logits, np.full(len(logits), rejection)]), labels
        )
        return loss, gradient[:, :-1]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    target = np.full(p.shape, smoothing / p.shape[1])
    target[np.arange(len(labels)), labels] += 1 - smoothing
    return -(target * np.log(p)).sum(axis=1).mean(), (p - target) / len(labels)


def weighted_pool(x, kernel_size, stride, padding, ceil_mode, weigh):
    """Sum every window with weights, which weigh(rows, columns) gives for the places of its part inside the image."""
    x = x.astype(np.float64)
    h, w = x.shape[2:]
    rows, columns = (windows(n, kernel_size, stride, padding, ceil_mode) for n in (h, w))
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for i, r in enumerate(rows):
        for j, q in enumerate(columns):
            top, left = i * stride - padding, j * stride - padding
            y[:, :, i, j] = (
                x[:, :, r, q] * weigh(np.arange(r.start, r.stop) - top, np.arange(q.start, q.stop) - left)
            ).sum(axis=(2, 3))
    return y


def mean_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad):
    """Return the mean of each window; what is counted is all but what lies beyond the padding, or the image's part."""
    ones = np.ones_like(x)
    counted = np.pad(ones, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=1)
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    if not count_include_pad:
        counted[...] = 0
        counted[:, :, padding : padding + ones.shape[2], padding : padding + ones.shape[3]] = 1
    y = []
    h, w = ones.shape[2:]
    for r in range(len(windows(h, kernel_size, stride, padding, ceil_mode))):
        for q in range(len(windows(w, kernel_size, stride, padding, ceil_mode))):
            part = np.s_[:, :, r * stride : r * stride + kernel_size, q * stride : q * stride + kernel_size]
            y.append(x[part].sum(axis=(2, 3)) / counted[part].sum(axis=(2, 3)))
    return np.moveaxis(np.array(y), 0, -1).reshape(*x.shape[:2], r + 1, q + 1)


def gaussian(kernel_size, sigma):
    """Return the weights of a window's part, normalised over it."""
    centre = (kernel_size - 1) / 2

    def weigh(rows, columns):
        powers = np.exp(-((rows[:, None] - centre) ** 2 + (columns - centre) ** 2) / (2 * sigma**2))
        return powers / powers.sum()

    return weigh


def connect_locally(x, weight, bias, stride, padding):
    """Let every place of the output look through a filter of its own: weight [oh, ow, o, c, k, k], bias [oh, ow, o]."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    oh, ow, o, _, k, _ = weight.shape
    y = np.zeros((len(x), o, oh, ow))
    for r in range(oh):
        for q in range(ow):
            window = x[:, None, :, r * stride : r * stride + k, q * stride : q * stride + k]
            y[:, :, r, q] = (window * weight[r, q]).sum(axis=(2, 3, 4)) + bias[r, q]
    return y


def radial_basis(x, centres):
    """Return minus the squared distances from the centres."""
    return -((x.astype(np.float64)[:, None] - centres) ** 2).sum(axis=2)


def philox(counter, key):
    """Return the four words of Philox4x32-10 (Salmon et al. 2011) for four counter words and two of the key."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second >> 32 ^ c[1] ^ k[0], second % 2**32, first >> 32 ^ c[3] ^ k[1], first % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def batch_norm(x, gamma, beta, epsilon):
    """Normalise each channel over samples and positions, then scale and shift it."""
    x = x.astype(np.float64)
    mean, variance = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma[:, None, None] + beta[:, None, None]


def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def tanh(x, amplitude=1.0, slope=1.0):
    """Return the hyperbolic tangent, stretched along both axes."""
    return amplitude * np.tanh(slope * x.astype(np.float64))


def softmax(x):
    """Return exp(x) / sum of exp(x) along axis 1."""
    powers = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def derivative(function, x, dy, step=1e-5):
    """Return the gradient of sum(dy * function(x)) by x, by central differences: for any function, in float64."""
    x, dx = x.astype(np.float64), np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[at] += step
        below[at] -= step
        dx[at] = ((function(above) - function(below)) * dy).sum() / (2 * step)
    return dx
