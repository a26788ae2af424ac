"""Augmentation: distort training images while they are copied into lanes, as a function of (seed, epoch, sample)."""

import math

import numpy as np
from numpy.typing import DTypeLike

from distcnn.config.augment_spec import Augment, radians, refusal
from distcnn.errors import ConfigError
from distcnn.kernels import augmentation as kernels
from distcnn.kernels.pointwise import pack
from distcnn.lanes import LANES, aligned
from distcnn.layers.context import BlockContext
from distcnn.network.plan import Block
from distcnn.numerics import portable_math

REACH = 3  # standard deviations from the center of the Gaussian window to its end


class Augmentation:
    """The buffers and kernels that distort a block of sixteen images.

    augment: the distortions.
    shape: (c, h, w) of an image.
    dtype: the type of the pixels, uint8 or float32.
    context: the context of the blocks, which contains the seed and the epoch.

    Raises ConfigError for distortions that would leave nothing of an image.
    """

    def __init__(
        self, augment: Augment, shape: tuple[int, int, int], dtype: DTypeLike, context: BlockContext
    ) -> None:
        self._arguments = augment, shape, dtype
        problem = refusal(augment, shape)
        if problem:
            raise ConfigError(f"augmentation {problem}")
        channels, height, width = shape
        self._source = aligned((1, channels, height + 3, width + 3, LANES))
        self._inside = self._source[:, :, 1 : 1 + height, 1 : 1 + width]
        self._unchanged = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self._pack, self._warp = pack(np.dtype(dtype).name), kernels.warp(augment.interpolates)
        self._samples = np.zeros(LANES, np.int64)
        when = self._samples, context.settings
        moves = aligned((kernels.MOVES, LANES))  # each lane's random numbers
        field, calls = _elastic(*augment.elastic, height, width, when)
        self._calls = [(kernels.draw, (*when, _ranges(augment), height, width, moves)), *calls]
        self._distortion = self._source, moves, field

    @property
    def kernels(self) -> list:
        """All kernels, to be compiled."""
        return [self._pack, self._warp, *(kernel for kernel, _ in self._calls)]

    def worker_copy(self, context: BlockContext) -> "Augmentation":
        """Return an Augmentation with the same distortions and separate buffers, for another thread."""
        return Augmentation(*self._arguments, context)

    def load(self, block: Block, scale: np.ndarray, shift: np.ndarray, x: np.ndarray) -> None:
        """Copy the images of a block into lanes, distort them, and then normalize them.

        block: the block.
        scale, shift: float32 [c]; each pixel is multiplied by scale, then shift is added.
        x: float32 [1, c, h, w, 16], overwritten.
        """
        self._samples[:] = block.sample
        self._pack(block.images, block.index, *self._unchanged, self._inside)
        for kernel, arguments in self._calls:
            kernel(*arguments)
        self._warp(*self._distortion, scale, shift, x)


def _ranges(augment: Augment) -> np.ndarray:
    """Return the argument `ranges` of the kernel `draw`, float32 [7]."""
    ranges = np.zeros(7, np.float32)
    for name in ("shift", "flip", "scale", "shear", "brightness", "cutout"):
        ranges[getattr(kernels, name.upper())] = getattr(augment, name)
    ranges[kernels.ROTATE] = radians(augment.rotate)
    return ranges


def _elastic(
    alpha: float, sigma: float, height: int, width: int, when: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, list]:
    """Return the displacement field of elastic distortion, [2, h, w or more, 16], and the calls that fill it.

    Uniform noise in [-1, 1), 0 outside of the image, is smoothed by a Gaussian whose weights add up to 1, along the
    rows and then along the columns, and multiplied by alpha (Simard, Steinkraus and Platt 2003).

    alpha: the factor, in pixels; 0 for no elastic distortion.
    sigma: the standard deviation of the Gaussian, in pixels.
    height, width: the size of the image.
    when: the arrays (samples, settings) from which the kernels draw random numbers.
    """
    columns = -(-width // kernels.COLUMNS) * kernels.COLUMNS
    field = aligned((2, height, columns, LANES))
    if not alpha:
        return field, []
    weights = gaussian(sigma)
    reach = len(weights) // 2
    noise = aligned((2, height, columns + 2 * reach, LANES))
    # One more column, so that neighboring rows do not fall into the same set of the cache.
    rows = aligned((2, height + 2 * reach, columns + 1, LANES))[:, :, :columns]
    random = noise[:, :, reach : reach + -(-width // 4) * 4]
    return field, [
        (kernels.noise, (*when, random)),
        (kernels.smooth, (weights, 0, 1, noise, rows[:, reach : reach + height])),
        (kernels.smooth, (weights * np.float32(alpha), 1, 0, rows, field)),
    ]


def gaussian(sigma: float) -> np.ndarray:
    """Return the weights of a Gaussian window in one dimension, float32 [2 * reach + 1], whose sum is 1."""
    reach = max(1, math.ceil(REACH * sigma))
    exponents = [max(-(k * k) / (2.0 * sigma * sigma), -700.0) for k in range(-reach, reach + 1)]
    weights = [portable_math.exp(x) for x in exponents]
    total = math.fsum(weights)  # as sum() rounds in another way from Python 3.12 on
    return np.array([weight / total for weight in weights], np.float32)
