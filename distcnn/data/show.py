"""The picture of `distcnn.data show`: samples as they are in the file, and as training augments them."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from distcnn.config.augment_spec import NONE, Augment, read
from distcnn.data.augmentation import Augmentation
from distcnn.data.dataset import load
from distcnn.data.splits import Split
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES, aligned
from distcnn.layers.context import BlockContext
from distcnn.network.plan import Block
from distcnn.parallel.serial import SerialComm
from distcnn.system.terminal_text import printable

EPOCHS = 9  # how many augmented versions of each sample a picture shows


def sheet(path: str | Path, augment: str = NONE) -> bytes:
    """Return the bytes of a PNG with sixteen training samples of a dataset, taken at equal distances.

    Without augmentation the samples form a square. With augmentation each sample has a row: first the sample in the
    file, then the sample as training with seed 0 augments it in the first nine epochs.

    path: the file of the dataset.
    augment: the text of the option --augment.

    Raises DataError for a bad file, and ConfigError for an augmentation that would leave nothing of these images.
    """
    data = load(path, SerialComm())
    split, augmentation = data.train, read(augment)
    samples = np.unique(np.linspace(0, len(split.labels) - 1, LANES).astype(np.int64))
    columns = [split.images[samples].astype(np.float32)]
    if augment != NONE:
        columns += distorted(split, samples, augmentation, range(EPOCHS))
    names = [printable(data.classes[label]) for label in split.labels[samples]]
    return _png(np.stack(columns, axis=1), names, _range(split.images[samples]))


def distorted(split: Split, samples: np.ndarray, augment: Augment, epochs: Iterable[int]) -> list[np.ndarray]:
    """Return for each epoch some samples as training with seed 0 augments them, float32 [n, c, h, w], not normalized.

    split: the split.
    samples: the indices of up to sixteen samples of the split, int64 [n].
    augment: the distortions.
    epochs: the epochs.
    """
    shape, context = split.images.shape[1:], BlockContext(0)
    augmentation = Augmentation(augment, shape, split.images.dtype, context)
    block = Block.of(split.images[samples], split.labels, samples, np.arange(len(samples)))
    x = aligned((1, *shape, LANES))
    unchanged = np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32)
    seen = []
    for epoch in epochs:
        context.epoch = epoch
        with ieee_mode():
            augmentation.load(block, *unchanged, x)
        seen.append(np.moveaxis(x[0], -1, 0)[: len(samples)].copy())
    return seen


def _range(images: np.ndarray) -> tuple[float, float]:
    """Return the pixel values to be shown as black and as white."""
    return (0, 255) if images.dtype == np.uint8 else (float(images.min()), float(images.max()))


def _png(images: np.ndarray, names: list[str], limits: tuple[float, float]) -> bytes:
    """Return the bytes of a PNG of images.

    images: [n, columns, c, h, w]; if there is one column, the images are arranged in rows of four.
    names: the names of the classes of the n samples.
    limits: the pixel values to be shown as black and as white.
    """
    from matplotlib.figure import Figure

    n, columns, _, h, w = images.shape
    across = columns if columns > 1 else 4
    down = n if columns > 1 else -(-n // across)
    figure = Figure(figsize=(across * 0.9, down * 0.9 * h / w + down * 0.2), dpi=130, layout="constrained")
    places = figure.subplots(down, across, squeeze=False)
    for axes in places.flat:
        axes.set_axis_off()
    for axes, image in zip(places.flat, images.reshape(-1, *images.shape[2:]), strict=False):
        axes.imshow(_pixels(image, *limits), cmap="gray", vmin=0, vmax=1)
    for axes, name in zip(places[:, 0] if columns > 1 else places.flat, names, strict=False):
        axes.set_title(name, fontsize=7, pad=2, parse_math=False)
    for k, axes in enumerate(places[0, 1:] if columns > 1 else (), 1):
        axes.set_title(f"epoch {k}", fontsize=7, pad=2)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _pixels(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return an image [c, h, w] in the form for Matplotlib: values from 0 to 1, [h, w, 3] if c = 3, else channel 0."""
    shown = np.clip((image - low) / max(high - low, 1e-30), 0, 1)
    return shown.transpose(1, 2, 0) if len(image) == 3 else shown[0]
