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


def softmax_cross_entropy(logits, labels):
    """Return the mean loss and its gradient with respect to the logits."""
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = powers / powers.sum(axis=1, keepdims=True)
    chosen = np.arange(len(labels)), labels
    gradient = p.copy()
    gradient[chosen] -= 1
    return -np.log(p[chosen]).mean(), gradient / len(labels)
