"""A sheet of samples for a person to look at: as they are and, row by row, as training sees them augmented."""

import io

import numpy as np

from distcnn.config.augment_spec import NONE, read
from distcnn.data.augmentation import Augmentation
from distcnn.data.dataset import load
from distcnn.kernels.jit import ieee_mode
from distcnn.lanes import LANES, aligned
from distcnn.layers.base import EPOCH, BlockContext
from distcnn.network.plan import Block
from distcnn.parallel.serial import SerialComm

EPOCHS = 9  # of which an augmented sheet shows each sample


def sheet(path, augment=NONE):
    """Return the bytes of a PNG with sixteen training samples of the dataset, spread over all of them.

    Without augmentation they stand four by four; with it each has a row: as it is, then in the first nine epochs with
    seed 0, as training with that option has it. Raises DataError and ConfigError.
    """
    data = load(path, SerialComm())
    part, asked = data.train, read(augment)
    samples = np.unique(np.linspace(0, len(part.labels) - 1, LANES).astype(np.int64))
    rows = [part.images[samples].astype(np.float32)]
    if augment != NONE:
        rows += distorted(part, samples, asked, range(EPOCHS))
    names = [data.classes[label] for label in part.labels[samples]]
    return _png(np.stack(rows, axis=1), names, _range(part.images[samples]))


def distorted(part, samples, augment, epochs):
    """Return up to sixteen samples as they are in each of the epochs, float32 [n, c, h, w] each, not normalised."""
    shape, context = part.images.shape[1:], BlockContext(0)
    augmentation = Augmentation(augment, shape, part.images.dtype, context)
    block, x = Block.of(part.images, part.labels, samples), aligned((1, *shape, LANES))
    unchanged = np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32)
    seen = []
    for epoch in epochs:
        context.settings[EPOCH] = epoch
        with ieee_mode():
            augmentation.load(block, *unchanged, x)
        seen.append(np.moveaxis(x[0], -1, 0)[: len(samples)].copy())
    return seen


def _range(images):
    """Return what is drawn black and what white."""
    return (0, 255) if images.dtype == np.uint8 else (float(images.min()), float(images.max()))


def _png(images, names, limits):
    """Draw images [n, columns, c, h, w]; a single column is folded into rows of four."""
    from matplotlib.figure import Figure

    n, columns, c, h, w = images.shape
    across = columns if columns > 1 else 4
    down = n if columns > 1 else -(-n // across)
    figure = Figure(figsize=(across * 0.9, down * 0.9 * h / w + down * 0.2), dpi=130, layout="constrained")
    places = figure.subplots(down, across, squeeze=False)
    for axes in places.flat:
        axes.set_axis_off()
    for axes, image in zip(places.flat, images.reshape(-1, c, h, w), strict=False):
        low, high = limits
        shown = np.clip((image - low) / max(high - low, 1e-30), 0, 1)
        grey = c != 3  # of other channels the first
        axes.imshow(shown[0] if grey else shown.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=1)
    for axes, name in zip(places[:, 0] if columns > 1 else places.flat, names, strict=False):
        axes.set_title(name, fontsize=7, pad=2, parse_math=False)
    for k, axes in enumerate(places[0, 1:] if columns > 1 else (), 1):
        axes.set_title(f"epoch {k}", fontsize=7, pad=2)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
