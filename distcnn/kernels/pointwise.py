"""Element-wise kernels: ReLU, the copies of Flatten, the copy of samples into lanes, and the addition of sums."""

from functools import cache

import numpy as np
from numba import njit

from distcnn.kernels.jit import Kernel, kernel
from distcnn.lanes import (
    fma_scalar,
    load,
    load_pixels,
    splat,
    store,
    store_tile,
    tile_scale,
    transpose,
    where_positive,
)


@kernel("f4:5 f4:5")
def relu_forward(x, y):
    """y = max(x, 0)."""
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    value = load(x, (n, c, r, q))
                    store(y, (n, c, r, q), where_positive(value, value))


@kernel("f4:5 f4:5 f4:5")
def relu_backward(y, dy, dx):
    """dx = dy where y > 0, else 0; dx may be dy."""
    for n in range(y.shape[0]):
        for c in range(y.shape[1]):
            for r in range(y.shape[2]):
                for q in range(y.shape[3]):
                    at = (n, c, r, q)
                    store(dx, at, where_positive(load(y, at), load(dy, at)))


@kernel("f4:5 f4:3")
def flatten(x, y):
    """y[(c, r, q)] = x[c, r, q], in row order."""
    for n in range(x.shape[0]):
        i = 0
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                for q in range(x.shape[3]):
                    store(y, (n, i), load(x, (n, c, r, q)))
                    i += 1


@kernel("f4:3 f4:5")
def unflatten(dy, dx):
    """dx[c, r, q] = dy[(c, r, q)]: the reverse of `flatten`."""
    for n in range(dx.shape[0]):
        i = 0
        for c in range(dx.shape[1]):
            for r in range(dx.shape[2]):
                for q in range(dx.shape[3]):
                    store(dx, (n, c, r, q), load(dy, (n, i)))
                    i += 1


def _pack(images, index, scale, shift, x):
    """x[c, r, q, s] = images[index[s], c, r, q] * scale[c] + shift[c], rounded once."""
    width = x.shape[3]
    for c in range(x.shape[1]):
        factor, offset = splat(scale[c]), splat(shift[c])
        for r in range(x.shape[2]):
            for start in range(0, width - 15, 16):
                pack_columns(images, index, c, r, start, factor, offset, x)
            if width % 16 and width > 16:
                pack_columns(images, index, c, r, width - 16, factor, offset, x)
            elif width < 16:
                for q in range(width):
                    for s in range(16):
                        pixel = np.float32(images[index[s], c, r, q])
                        x[0, c, r, q, s] = fma_scalar(pixel, scale[c], shift[c])


@njit(inline="always")
def pack_columns(images, index, c, r, q, factor, offset, x):
    """Fill sixteen neighboring columns of x by transposing sixteen pixels of each of sixteen samples."""
    tile = transpose(load_pixels(images, index, (c, r, q)))
    store_tile(x, (0, c, r, q), tile_scale(tile, factor, offset), 1, 1, 16)


@cache
def pack(dtype: str) -> Kernel:
    """Return the kernel `_pack` for images of `dtype`, uint8 or float32: it copies sixteen samples into lanes."""
    code = {"uint8": "u1", "float32": "f4"}[dtype]
    return Kernel(_pack, f"{code}:4 i8:1 f4:1 f4:1 f4:5", f"pack_{dtype}")


@kernel("i8:1C i8:1C")
def move_sums(target, source):
    """target += source; source = 0; int64."""
    for k in range(target.size):
        target[k] += source[k]
        source[k] = 0
