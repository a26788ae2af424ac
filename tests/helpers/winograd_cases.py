"""Convolutions that Winograd's algorithms compute, and hashes of all their bits."""

import hashlib

import numpy as np

from distcnn import Net, models
from distcnn.layers import Conv2D, ReLU
from tests.helpers.arrays import normal

TILE_CASES = [  # out_channels, padding, input shape, samples
    (16, 1, (16, 8, 8), 17),
    (32, 1, (16, 7, 9), 5),
    (17, 0, (19, 10, 5), 3),
    (20, 2, (33, 3, 6), 2),  # the last group of 16 channels overlaps the one before
    (16, 3, (16, 5, 4), 2),  # more padding than filter: dx begins inside dy
    (16, 5, (16, 2, 3), 33),
    (48, 0, (16, 3, 3), 1),  # one output
    (64, 1, (64, 16, 16), 16),
    (5, 1, (3, 6, 10), 2),  # the gradient of the weights is computed directly
]


def tile_digest():
    """Return a hash of what odd layers and a whole net compute."""
    found = hashlib.sha256()
    for outputs, padding, shape, n in TILE_CASES:
        net = Net([Conv2D(outputs, 3, padding=padding), ReLU(), Conv2D(16, 3, padding=1)], shape)
        y = net.forward(normal(n, *shape))
        found.update(y.tobytes() + net.backward(normal(*y.shape)).tobytes() + net.sums.tobytes())
    net = Net(models.MODELS["vgg-small"].layers((3, 16, 16), 10), (3, 16, 16))
    net.loss_and_gradients(normal(18, 3, 16, 16), np.arange(18) % 10)
    found.update(net.sums.tobytes())
    return found.hexdigest()


ROW_CASES = [  # out_channels, kernel_size, padding, input shape, samples
    (16, 5, 0, (6, 14, 14), 17),  # LeNet-5
    (17, 5, 2, (7, 6, 9), 3),  # an odd number of columns, and of outputs
    (16, (3, 5), (4, 3), (5, 4, 5), 2),  # windows that lie outside, above and below
    (3, (1, 5), (0, 1), (8, 2, 4), 33),  # one pair
    (9, 5, (0, 4), (3, 5, 3), 2),  # more padding than image
    (48, 5, 2, (8, 3, 40), 2),  # many outputs
    (48, 5, 2, (9, 3, 40), 2),  # the same, and tiles that overlap
]


def convolution_net(outputs, kernel_size, padding, shape, conv="winograd"):
    """Return a net of one layer with a bias."""
    net = Net([Conv2D(outputs, kernel_size, padding=padding)], shape, conv=conv)
    net.parameters["0.bias"][:] = normal(outputs, seed=5)
    return net


def row_digest():
    """Return a hash of what odd layers and a whole net compute."""
    found = hashlib.sha256()
    for outputs, kernel_size, padding, shape, n in ROW_CASES[:3]:
        net = convolution_net(outputs, kernel_size, padding, shape)
        y = net.forward(normal(n, *shape))
        for scale in (1, 3e4):  # sums beyond 2**14, which AVX2 converts in another way
            dx = net.backward(np.float32(scale) * normal(*y.shape))
            found.update(y.tobytes() + dx.tobytes() + net.sums.tobytes())
    net = Net(models.MODELS["lenet5"].layers((1, 28, 28), 10), (1, 28, 28))
    net.loss_and_gradients(normal(18, 1, 28, 28), np.arange(18) % 10)
    found.update(net.sums.tobytes())
    return found.hexdigest()
