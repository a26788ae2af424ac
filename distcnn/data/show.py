"""The picture of `distcnn.data show`: samples of all splits, with their classes, or as training augments them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distcnn.config.augment_spec import NONE, Augment, read
from distcnn.config.types import CLASSIFY, MULTILABEL, REGRESS
from distcnn.data import pixels
from distcnn.data.augmentation import Augmentation
from distcnn.data.dataset import load
from distcnn.data.splits import Dataset, Split
from distcnn.data.wanted import Wanted
from distcnn.kernels.float_mode import ieee_mode
from distcnn.lanes import LANES, aligned
from distcnn.layers.context import BlockContext
from distcnn.network.plan import Block
from distcnn.parallel.serial import SerialComm
from distcnn.system.fonts import fonts_for, shown
from distcnn.system.terminal_text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPOCHS = 9  # how many augmented versions of each sample a picture shows
LONGEST = 16  # characters above an image
ACROSS, DOWN = 8, 3  # samples of each split: columns and rows
ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")  # of the file, which say its format


def sheet(path: str | Path, augment: str = NONE, wanted: Wanted | None = None, ending: str = ".png") -> bytes:
    """Return the content of a picture with samples of a dataset and the names of their classes.

    Without augmentation it shows samples of each split, in the order of their classes, at equal distances. With
    augmentation sixteen training samples have a row each: first the sample in the file, then the sample as training
    with seed 0 augments it in the first nine epochs.

    path: the file of the dataset.
    augment: the text of the option --augment.
    wanted: what the user says of the arrays in the file.
    ending: one of ENDINGS, the format.

    Raises DataError for a bad file, and ConfigError for an augmentation that would leave nothing of these images.
    """
    data = load(path, SerialComm(), wanted=wanted)
    figure = _of_splits(data) if augment == NONE else _of_epochs(data, read(augment))
    image = io.BytesIO()
    figure.savefig(image, format=ending.lstrip("."))
    return image.getvalue()


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


def _of_splits(data: Dataset) -> Figure:
    """Return a figure of all splits, one below the other."""
    found = {"train": data.train, "validation": data.validation, "test": data.test}
    splits = {name: split for name, split in found.items() if split is not None}
    rows = {name: _spread(split.labels, ACROSS * DOWN) for name, split in splits.items()}
    heights = [-(-len(samples) // ACROSS) for samples in rows.values()]
    shape, limits = data.train.images.shape[1:], pixels.limits_of(data.train.images[rows["train"]])
    figure = _figure(ACROSS, sum(heights), shape, 0.3 * len(splits))
    parts = figure.subfigures(len(splits), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (name, split), samples, down in zip(parts, splits.items(), rows.values(), heights, strict=True):
        part.suptitle(f"{name}: {len(split.labels):,} images", fontsize=8)
        places = part.subplots(down, ACROSS, squeeze=False)
        _draw(places, split.images[samples], limits)
        _name(places.flat, data, split.labels[samples])
    return figure


def _spread(labels: np.ndarray, most: int) -> np.ndarray:
    """Return the numbers of samples in the order of their classes, at equal distances, int64 [up to most]."""
    order = np.argsort(labels, kind="stable") if labels.ndim == 1 else np.lexsort(labels.T[::-1])
    return order[np.unique(np.linspace(0, len(labels) - 1, most).astype(np.int64))]


def _of_epochs(data: Dataset, augment: Augment) -> Figure:
    """Return a figure of training samples as they are, and as training augments them."""
    split = data.train
    samples = np.unique(np.linspace(0, len(split.labels) - 1, LANES).astype(np.int64))
    columns = [split.images[samples].astype(np.float32), *distorted(split, samples, augment, range(EPOCHS))]
    figure = _figure(len(columns), len(samples), split.images.shape[1:], 0)
    places = figure.subplots(len(samples), len(columns), squeeze=False)
    images, limits = np.stack(columns, axis=1), pixels.limits_of(split.images[samples])
    _draw(places, images.reshape(-1, *split.images.shape[1:]), limits)
    _name(places[:, 0], data, split.labels[samples])
    for k, axes in enumerate(places[0, 1:], 1):
        axes.set_title(f"epoch {k}", fontsize=7, pad=2)
    return figure


def _figure(across: int, down: int, shape: tuple[int, ...], more: float) -> Figure:
    """Return an empty figure for so many images of a shape (c, h, w); more: inches for other text."""
    from matplotlib.figure import Figure

    size = across * 0.9, down * 0.9 * shape[1] / shape[2] + down * 0.2 + more
    return Figure(figsize=size, dpi=130, layout="constrained")


def _draw(places: np.ndarray, images: np.ndarray, limits: tuple[float, float]) -> None:
    """Draw images [n, c, h, w] into places, which may be more; limits: the values to be shown as black and as white."""
    for axes in places.flat:
        axes.set_axis_off()
    for axes, image in zip(places.flat, images, strict=False):
        axes.imshow(pixels.shown(image, *limits), cmap="gray", vmin=0, vmax=1)


def _name(places: Iterable[Axes], data: Dataset, labels: np.ndarray) -> None:
    """Write the names of classes or labels above images, or their targets; the number of a name that no font has."""
    names = [printable(name) for name in data.classes]
    fonts = fonts_for(names)
    names = shown(names, fonts)
    for axes, label in zip(places, labels, strict=False):
        text = TITLES[data.task](names, label)
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
        axes.set_title(text, fontsize=7, pad=2, parse_math=False, fontfamily=fonts.families)


# By task: what is written above an image, from the names of the outputs and its labels.
TITLES: dict[str, Callable[[Sequence[str], Any], str]] = {
    CLASSIFY: lambda classes, label: classes[label],
    MULTILABEL: lambda classes, row: ", ".join(classes[int(k)] for k in np.flatnonzero(row)) or "-",
    REGRESS: lambda classes, row: ", ".join(f"{number:.4g}" for number in row),
}
