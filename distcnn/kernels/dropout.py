"""Dropout: a random mask, which is a function of (seed, layer, epoch, sample) and of the position in the image."""

from distcnn.kernels.block_settings import EPOCH, SEED, TRAINING
from distcnn.kernels.jit import kernel
from distcnn.lanes import load, splat, store, uniform, where_less


@kernel("f4:5 f4 i8 i8:1 i8:1 f4:5 f4:5")
def dropout_forward(x, p, layer, samples, settings, mask, y):
    """y = x * mask in training, else x; mask = 0 with probability p, else 1 / (1 - p).

    p: the probability.
    layer: the number of the stream of the random generator.
    samples: int64 [16], the indices of the samples.
    settings: as in kernels/block_settings.
    mask: [1, c, h, columns, 16], columns a multiple of four, since one call of the generator gives four numbers.

    Since y is a product, it is NaN where x is NaN.
    """
    zero, scale, limit = splat(0.0), splat(1 / (1 - p)), splat(p)
    groups = mask.shape[3] // 4
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for r in range(x.shape[2]):
                if settings[TRAINING]:
                    for g in range(groups):
                        place = (c * x.shape[2] + r) * groups + g
                        chances = uniform(settings[SEED], place, layer, samples, settings[EPOCH])
                        store(mask, (n, c, r, 4 * g), where_less(chances[0], limit, zero, scale))
                        store(mask, (n, c, r, 4 * g + 1), where_less(chances[1], limit, zero, scale))
                        store(mask, (n, c, r, 4 * g + 2), where_less(chances[2], limit, zero, scale))
                        store(mask, (n, c, r, 4 * g + 3), where_less(chances[3], limit, zero, scale))
                    for q in range(x.shape[3]):
                        store(y, (n, c, r, q), load(x, (n, c, r, q)) * load(mask, (n, c, r, q)))
                else:
                    for q in range(x.shape[3]):
                        store(y, (n, c, r, q), load(x, (n, c, r, q)))


@kernel("f4:5 f4:5 f4:5")
def dropout_backward(mask, dy, dx):
    """dx = dy * mask."""
    for n in range(dy.shape[0]):
        for c in range(dy.shape[1]):
            for r in range(dy.shape[2]):
                for q in range(dy.shape[3]):
                    store(dx, (n, c, r, q), load(dy, (n, c, r, q)) * load(mask, (n, c, r, q)))
