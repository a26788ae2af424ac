"""Training images as they are distorted on the way into lanes: a function of (seed, epoch, sample) and nothing else."""

import math

import numpy as np

from distcnn.config.augment_spec import radians, refusal
from distcnn.errors import ConfigError
from distcnn.kernels import augmentation as kernels
from distcnn.kernels.pointwise import pack
from distcnn.lanes import LANES, aligned
from distcnn.numerics import portable_math

REACH = 3  # the Gaussian window ends at so many standard deviations


class Augmentation:
    """Buffers and kernels that distort sixteen images of `shape` (c, h, w) and `dtype` as an Augment says.

    moment: of the net whose input they are (layers.base.Moment): it names seed and epoch.
    Raises ConfigError for distortions that leave nothing of an image.
    """

    def __init__(self, augment, shape, dtype, context):
        self._asked = augment, shape, dtype
        problem = refusal(augment, shape)
        if problem:
            raise ConfigError(f"--augment {problem}")
        channels, height, width = shape
        self._source = aligned((1, channels, height + 3, width + 3, LANES))
        self._inside = self._source[:, :, 1 : 1 + height, 1 : 1 + width]
        self._unchanged = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self._pack, self._warp = pack(np.dtype(dtype).name), kernels.warp(augment.interpolates)
        self._samples = np.zeros(LANES, np.int64)
        when = self._samples, context.settings
        moves = aligned((kernels.MOVES, LANES))
        field, calls = _elastic(*augment.elastic, height, width, when)
        self._calls = [(kernels.draw, (*when, _ranges(augment), height, width, moves)), *calls]
        self._distortion = self._source, moves, field

    @property
    def kernels(self):
        """All that is to be compiled."""
        return [self._pack, self._warp, *(kernel for kernel, _ in self._calls)]

    def worker_copy(self, context):
        """Return another of the same distortions, with buffers of its own: for another thread."""
        return Augmentation(*self._asked, context)

    def load(self, block, scale, shift, x):
        """Bring a block's images into lanes, x [1, c, h, w, 16], distorted and then normalised.

        A pixel is multiplied by scale and shifted, both [c] float32.
        """
        self._samples[:] = block.index
        self._pack(block.images, block.index, *self._unchanged, self._inside)
        for kernel, arguments in self._calls:
            kernel(*arguments)
        self._warp(*self._distortion, scale, shift, x)


def _ranges(augment):
    """Return what the kernel `draw` takes as its `ranges`."""
    ranges = np.zeros(7, np.float32)
    for name in ("shift", "flip", "scale", "shear", "brightness", "cutout"):
        ranges[getattr(kernels, name.upper())] = getattr(augment, name)
    ranges[kernels.ROTATE] = radians(augment.rotate)
    return ranges


def _elastic(alpha, sigma, height, width, when):
    """Return the displacement field [2, h, w or more, 16] and the kernel calls that fill it anew.

    Uniform noise in [-1, 1), 0 outside of the image, is smoothed by a Gaussian whose weights add up to 1, along the
    rows and then along the columns, and multiplied by alpha (Simard, Steinkraus and Platt 2003).
    """
    columns = -(-width // kernels.COLUMNS) * kernels.COLUMNS
    field = aligned((2, height, columns, LANES))
    if not alpha:
        return field, []
    weights = gaussian(sigma)
    reach = len(weights) // 2
    chances = aligned((2, height, columns + 2 * reach, LANES))
    # one column more, so that neighbouring rows do not fall into one set of the cache
    rows = aligned((2, height + 2 * reach, columns + 1, LANES))[:, :, :columns]
    random = chances[:, :, reach : reach + -(-width // 4) * 4]
    return field, [
        (kernels.noise, (*when, random)),
        (kernels.smooth, (weights, 0, 1, chances, rows[:, reach : reach + height])),
        (kernels.smooth, (weights * np.float32(alpha), 1, 0, rows, field)),
    ]


def gaussian(sigma):
    """Return the weights of a Gaussian window in one dimension, float32, whose sum is 1."""
    reach = max(1, math.ceil(REACH * sigma))
    exponents = [max(-(k * k) / (2.0 * sigma * sigma), -700.0) for k in range(-reach, reach + 1)]
    weights = [portable_math.exp(x) for x in exponents]
    total = sum(weights)
    return np.array([weight / total for weight in weights], np.float32)
