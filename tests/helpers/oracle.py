"""The naive versions of all layers, in float64, as the formulas say: slow, plain, and importing nothing of distcnn."""

import math

import numpy as np


def pair(value):
    """Return (of rows, of columns)."""
    return value if isinstance(value, tuple) else (value, value)


def padded(x, padding):
    """Put zeros around images, float64."""
    (rows, columns) = pair(padding)
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), (rows, rows), (columns, columns)))


def places(x, weight, stride, dilation):
    """Yield (row, column) of each output, and the slices of a padded x that its window sees."""
    (s, t), (d, e), (kh, kw) = pair(stride), pair(dilation), weight.shape[-2:]
    for r in range((x.shape[2] - d * (kh - 1) - 1) // s + 1):
        for q in range((x.shape[3] - e * (kw - 1) - 1) // t + 1):
            rows = slice(r * s, r * s + d * (kh - 1) + 1, d)
            yield r, q, rows, slice(q * t, q * t + e * (kw - 1) + 1, e)


def convolve(x, weight, bias, stride, padding, dilation=1, groups=1):
    """Slide every filter over every image: x [n, c, h, w], weight [o, c / groups, kh, kw] -> [n, o, oh, ow]."""
    if groups > 1:
        parts = zip(
            np.split(x, groups, axis=1), np.split(weight, groups), np.split(bias, groups), strict=True
        )
        return np.concatenate([convolve(*part, stride, padding, dilation) for part in parts], axis=1)
    x = padded(x, padding)
    found = [
        (x[:, None, :, rows, columns] * weight).sum(axis=(2, 3, 4)) + bias
        for _, _, rows, columns in places(x, weight, stride, dilation)
    ]
    *_, (r, q, _, _) = places(x, weight, stride, dilation)
    return np.moveaxis(np.array(found), 0, -1).reshape(len(x), len(weight), r + 1, q + 1)


def convolve_backward(x, weight, dy, stride, padding, dilation=1, groups=1):
    """Return dx, the gradient of the weights and that of the bias: each product's share goes back to its factors."""
    if groups > 1:
        parts = zip(np.split(x, groups, 1), np.split(weight, groups), np.split(dy, groups, 1), strict=True)
        found = [convolve_backward(*part, stride, padding, dilation) for part in parts]
        return tuple(
            np.concatenate(each, axis) for each, axis in zip(zip(*found, strict=True), (1, 0, 0), strict=True)
        )
    height, width = x.shape[2:]
    x = padded(x, padding)
    dx, dweight = np.zeros_like(x), np.zeros(weight.shape)
    for r, q, rows, columns in places(x, weight, stride, dilation):
        share = dy[:, :, r, q].astype(np.float64)
        dx[:, :, rows, columns] += np.einsum("no,ocij->ncij", share, weight.astype(np.float64))
        dweight += np.einsum("no,ncij->ocij", share, x[:, :, rows, columns])
    top, left = pair(padding)
    dx = dx[:, :, top : top + height, left : left + width]
    return dx, dweight, dy.sum(axis=(0, 2, 3), dtype=np.float64)


def windows(size, kernel_size, stride, padding, ceil_mode):
    """Return the slices of all windows along an axis, cut off at the image's edges."""
    room = size + 2 * padding - kernel_size
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    starts = [k * stride - padding for k in range(count)]
    return [slice(max(0, s), min(size, s + kernel_size)) for s in starts if s < size]


def grid(sizes, kernel_size, stride, padding, ceil_mode):
    """Return the windows' slices along rows, and along columns."""
    arguments = zip(sizes, pair(kernel_size), pair(stride), pair(padding), strict=True)
    return [windows(*each, ceil_mode) for each in arguments]


def max_pool(x, kernel_size, stride, padding, ceil_mode):
    """Return the largest of each window."""
    rows, columns = grid(x.shape[2:], kernel_size, stride, padding, ceil_mode)
    return np.array([[x[:, :, r, q].max(axis=(2, 3)) for q in columns] for r in rows]).transpose(2, 3, 0, 1)


def max_pool_backward(x, dy, kernel_size, stride, padding, ceil_mode):
    """Send each window's gradient to its first largest element in row order."""
    dx = np.zeros(x.shape)
    rows, columns = grid(x.shape[2:], kernel_size, stride, padding, ceil_mode)
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
    logits = logits - logits.max(axis=1, keepdims=True)
    logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))  # the probabilities may underflow
    target = np.full(logits.shape, smoothing / logits.shape[1])
    target[np.arange(len(labels)), labels] += 1 - smoothing
    return -(target * logarithms).sum(axis=1).mean(), (np.exp(logarithms) - target) / len(labels)


def sigmoid_cross_entropy(logits, labels, smoothing=0.0):
    """Return the mean loss over samples and labels, and its gradient with respect to the logits."""
    logits, target = logits.astype(np.float64), (1 - smoothing) * labels + smoothing / 2
    losses = target * np.logaddexp(0, -logits) + (1 - target) * np.logaddexp(0, logits)
    return losses.mean(), (sigmoid(logits) - target) / logits.size


def squared_error(outputs, targets, mean, std):
    """Return the mean loss over samples and standardized targets, and its gradient with respect to the outputs."""
    difference = outputs.astype(np.float64) - (targets - mean) / std
    return (difference**2).mean(), 2 * difference / outputs.size


def weighted_pool(x, kernel_size, stride, padding, ceil_mode, weigh):
    """Sum every window with weights, which weigh(rows, columns) gives for the places of its part inside the image."""
    x = x.astype(np.float64)
    rows, columns = grid(x.shape[2:], kernel_size, stride, padding, ceil_mode)
    (s, t), (p, o) = pair(stride), pair(padding)
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for i, r in enumerate(rows):
        for j, q in enumerate(columns):
            top, left = i * s - p, j * t - o
            y[:, :, i, j] = (
                x[:, :, r, q] * weigh(np.arange(r.start, r.stop) - top, np.arange(q.start, q.stop) - left)
            ).sum(axis=(2, 3))
    return y


def mean_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad):
    """Return the mean of each window; what is counted is all but what lies beyond the padding, or the image's part."""
    (kh, kw), (s, t) = pair(kernel_size), pair(stride)
    rows, columns = grid(x.shape[2:], kernel_size, stride, padding, ceil_mode)
    counted = padded(np.ones_like(x), padding)
    x = padded(x, padding)
    if count_include_pad:
        counted[...] = 1
    y = []
    for r in range(len(rows)):
        for q in range(len(columns)):
            part = np.s_[:, :, r * s : r * s + kh, q * t : q * t + kw]
            y.append(x[part].sum(axis=(2, 3)) / counted[part].sum(axis=(2, 3)))
    return np.moveaxis(np.array(y), 0, -1).reshape(*x.shape[:2], r + 1, q + 1)


def gaussian(kernel_size, sigma):
    """Return the weights of the part of a window inside the image, normalized over it."""
    down, across = ((k - 1) / 2 for k in pair(kernel_size))

    def weigh(rows, columns):
        powers = np.exp(-((rows[:, None] - down) ** 2 + (columns - across) ** 2) / (2 * sigma**2))
        return powers / powers.sum()

    return weigh


def connect_locally(x, weight, bias, stride, padding, dilation=1):
    """Let every place of the output look through its own filter: weight [oh, ow, o, c, kh, kw], bias [oh, ow, o]."""
    x = padded(x, padding)
    y = np.zeros((len(x), weight.shape[2], *weight.shape[:2]))
    for r, q, rows, columns in places(x, weight, stride, dilation):
        y[:, :, r, q] = (x[:, None, :, rows, columns] * weight[r, q]).sum(axis=(2, 3, 4)) + bias[r, q]
    return y


def radial_basis(x, centers):
    """Return minus the squared distances from the centers."""
    return -((x.astype(np.float64)[:, None] - centers) ** 2).sum(axis=2)


def philox(counter, key):
    """Return the four words of Philox4x32-10 (Salmon et al. 2011) for four counter words and two of the key."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second >> 32 ^ c[1] ^ k[0], second % 2**32, first >> 32 ^ c[3] ^ k[1], first % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def batch_norm(x, gamma, beta, epsilon):
    """Normalize each channel over samples and positions, then scale and shift it."""
    x = x.astype(np.float64)
    mean, variance = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma[:, None, None] + beta[:, None, None]


def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def silu(x):
    """Return x / (1 + exp(-x))."""
    return x.astype(np.float64) * sigmoid(x)


def gelu(x):
    """Return x times the standard normal distribution's function of x."""
    return x * np.vectorize(lambda value: math.erfc(-value / math.sqrt(2)) / 2)(x.astype(np.float64))


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
