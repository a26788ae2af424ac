"""Augmentation: a random distortion of each sample, which is a function of (seed, epoch, sample).

The random numbers come from the generator that dropout uses, from a stream that no layer uses.
"""

from numba import njit

from distcnn.kernels.block_settings import EPOCH, SEED
from distcnn.kernels.jit import kernel, specialized
from distcnn.lanes import (
    absolute,
    floor,
    fma,
    gather,
    load,
    load_row,
    sine_and_cosine,
    splat,
    store,
    store_window,
    tile_fma,
    tile_zeros,
    uniform,
    where_less,
)
from distcnn.numerics.random import AUGMENTATION

STREAM = 2**31 + AUGMENTATION  # beyond the numbers of layers
FIELD = 2**16  # the first counter of the elastic field's numbers; smaller counters are those of `draw`
COLUMNS = 8  # of the field that are smoothed at a time: independent sums, so that no addition waits

SHIFT, FLIP, ROTATE, SCALE, SHEAR, BRIGHTNESS, CUTOUT = range(7)  # places in `ranges`
ROW, COLUMN, LIGHT, HOLE_ROW, HOLE_COLUMN, HOLE = 4, 5, 6, 7, 8, 9  # places in `moves`, after the matrix
MOVES = 10


@kernel("i8:1 i8:1 f4:1 i8 i8 f4:2")
def draw(samples, settings, ranges, height, width, moves):
    """Draw how each sample is distorted: moves [10, 16], within the `ranges` [7].

    In coordinates from the center of the image, pixel (r, q) is read at (m0 r + m1 q + m4, m2 r + m3 q + m5): flipped,
    scaled, sheared and rotated, then shifted. m6 is the factor of brightness, (m7, m8) the center of the hole, m9 half
    of its side. Each number has a fixed position in the sequence of the generator, whichever distortions are used.

    samples: int64 [16], the indices of the samples.
    settings: as in kernels/block_settings.
    ranges: [7], the setting of each distortion.
    height, width: the size of the image.
    """
    one, half = splat(1.0), splat(0.5)
    first = uniform(settings[SEED], 0, STREAM, samples, settings[EPOCH])
    second = uniform(settings[SEED], 1, STREAM, samples, settings[EPOCH])
    third = uniform(settings[SEED], 2, STREAM, samples, settings[EPOCH])

    sine, cosine = sine_and_cosine(_within(first[3], ranges[ROTATE]))
    down = one / (one + _within(second[0], ranges[SCALE]))
    right = one / (one + _within(second[1], ranges[SCALE]))
    slope = _within(second[2], ranges[SHEAR]) * down
    mirrored = where_less(first[2], splat(ranges[FLIP] * 0.5), splat(-1.0), one) * right
    store(moves, (0,), cosine * down - sine * slope)
    store(moves, (1,), splat(0.0) - sine * mirrored)
    store(moves, (2,), fma(sine, down, cosine * slope))
    store(moves, (3,), cosine * mirrored)

    steps, least = splat(2 * ranges[SHIFT] + 1), splat(-ranges[SHIFT])
    store(moves, (ROW,), floor(first[0] * steps) + least)
    store(moves, (COLUMN,), floor(first[1] * steps) + least)
    store(moves, (LIGHT,), one + _within(second[3], ranges[BRIGHTNESS]))

    side = splat(ranges[CUTOUT])
    middle = (side - one) * half - floor(side * half)  # of a side that begins at -floor(side / 2)
    store(moves, (HOLE_ROW,), floor(third[0] * splat(height)) + middle)
    store(moves, (HOLE_COLUMN,), floor(third[1] * splat(width)) + middle)
    store(moves, (HOLE,), side * half)


@njit(inline="always")
def _within(chance, limit):
    """Return a random number from -limit to limit, made from `chance` in [0, 1)."""
    return (chance + chance - splat(1.0)) * splat(limit)


@kernel("i8:1 i8:1 f4:4")
def noise(samples, settings, x):
    """x[f, r, q] = a random number in [-1, 1) for each sample; x [2, h, columns, 16], columns a multiple of four.

    samples, settings: as in `draw`.
    """
    groups, one = x.shape[2] // 4, splat(1.0)
    for f in range(x.shape[0]):
        for r in range(x.shape[1]):
            for g in range(groups):
                place = FIELD + (f * x.shape[1] + r) * groups + g
                chances = uniform(settings[SEED], place, STREAM, samples, settings[EPOCH])
                store(x, (f, r, 4 * g), chances[0] + chances[0] - one)
                store(x, (f, r, 4 * g + 1), chances[1] + chances[1] - one)
                store(x, (f, r, 4 * g + 2), chances[2] + chances[2] - one)
                store(x, (f, r, 4 * g + 3), chances[3] + chances[3] - one)


@kernel("f4:1 i8 i8 f4:4 f4:4")
def smooth(weights, down, right, x, y):
    """y[f, r, q] = sum over k of weights[k] * x[f, r + k * down, q + k * right]; y's columns are a multiple of 8."""
    for f in range(y.shape[0]):
        for start in range(0, y.shape[2], COLUMNS):
            for r in range(y.shape[1]):
                total = tile_zeros(COLUMNS)
                for k in range(weights.size):
                    row = load_row(x, (f, r + k * down, start + k * right), 1, COLUMNS)
                    total = tile_fma(total, (splat(weights[k]),), row)
                store_window(y, (f, r, start), total, 1, 1, COLUMNS)


@specialized("f4:5 f4:2 f4:4 f4:1 f4:1 f4:5")
def warp(interpolates):
    """x[c, r, q] = (brightness * source at the position for (r, q)) * scale[c] + shift[c]; 0 in the hole.

    The position is the one that `draw` describes, plus the displacement in the field.

    source: [1, c, h + 3, w + 3, 16], with one zero before each row and column and two after it.
    moves: the result of `draw`.
    field: [2, h, w or more, 16], displacements in pixels.
    scale, shift: [c], the normalization.
    interpolates: whether positions lie between pixels; if not, the field is not read.
    """

    def function(source, moves, field, scale, shift, x):
        height, width, zero = x.shape[2], x.shape[3], splat(0.0)
        middle_r, middle_q = splat((height - 1) * 0.5), splat((width - 1) * 0.5)
        light, hole = load(moves, (LIGHT,)), load(moves, (HOLE,))
        for r in range(height):
            up = splat(r) - middle_r
            start_r = fma(load(moves, (0,)), up, load(moves, (ROW,)) + middle_r)
            start_q = fma(load(moves, (2,)), up, load(moves, (COLUMN,)) + middle_q)
            row_off = absolute(splat(r) - load(moves, (HOLE_ROW,)))
            for q in range(width):
                aside = splat(q) - middle_q
                row = fma(load(moves, (1,)), aside, start_r)
                column = fma(load(moves, (3,)), aside, start_q)
                if interpolates:
                    row = row + load(field, (0, r, q))
                    column = column + load(field, (1, r, q))
                row, column = _clipped(row, height), _clipped(column, width)
                column_off = absolute(splat(q) - load(moves, (HOLE_COLUMN,)))
                for c in range(x.shape[1]):
                    value = _between(source, c, row, column) if interpolates else _at(source, c, row, column)
                    value = fma(value * light, splat(scale[c]), splat(shift[c]))
                    value = where_less(row_off, hole, where_less(column_off, hole, zero, value), value)
                    store(x, (0, c, r, q), value)

    return function


@njit(inline="always")
def _clipped(place, size):
    """Return a position, clipped to the image and its border of zeros, in coordinates that begin at the border."""
    least, most = splat(-1.0), splat(size)
    place = where_less(place, least, least, place)
    return where_less(most, place, most, place) + splat(1.0)


@njit(inline="always")
def _at(source, c, row, column):
    return gather(source, (0, c), row, column, 1)[0]


@njit(inline="always")
def _between(source, c, row, column):
    """Return the interpolation between four pixels, first along the columns."""
    top, left = floor(row), floor(column)
    down, right = row - top, column - left
    corners = gather(source, (0, c), top, left, 2)
    above = fma(right, corners[1] - corners[0], corners[0])
    below = fma(right, corners[3] - corners[2], corners[2])
    return fma(down, below - above, above)
