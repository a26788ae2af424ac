"""Evaluate a net of the user's on all ranks together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from distcnn.config.tasks import Task
from distcnn.data.description import SPLITS
from distcnn.data.expected import Expected
from distcnn.data.images import Images, load_images
from distcnn.data.splits import Split
from distcnn.data.wanted import Wanted
from distcnn.errors import ConfigError, DataError
from distcnn.job.call import require_alike
from distcnn.job.request import request_of
from distcnn.job.sources import in_files
from distcnn.network.net import Net
from distcnn.parallel.collective import on_all
from distcnn.parallel.comm import Comm
from distcnn.training.evaluation import evaluate
from distcnn.training.load import check_images, evaluation_pool

NAMED = [each.name for each in fields(Wanted) if each.name != "task"]  # settings that `measure` takes


class Seen(NamedTuple):
    """The images on which a net was trained, as far as that is known.

    input_shape: (c, h, w).
    task: what the net has learned.
    classes: the names of the classes; () if they are not known.
    dtype: the name of the type that says what pixels mean; "" if that is not known.
    layout: the axes of the arrays in which they were, such as "NHWC"; None if that is not known.
    """

    input_shape: tuple[int, ...]
    task: Task
    classes: tuple[str, ...] = ()
    dtype: str = ""
    layout: str | None = None


def measure(
    comm: Comm, net: Net, data: Any, seen: Seen, name: str | None, given: Mapping[str, Any]
) -> dict[str, float | None]:
    """Return the metrics of a net over images and labels, by name, the same on every rank. Collective.

    data: arrays (x, y), or paths of files.
    seen: the images on which the net was trained.
    name: of the split of a file; None for the test split, or the only one.
    given: settings that say what the arrays in files are.
    """
    require_alike(comm, {"weights": net.digest, "split": name, **given})
    named = on_all(comm, _named, name, given)
    with in_files(comm, {"test": data}) as sources:
        wanted = Wanted(layout=seen.layout, task=net.task.name)
        expected = Expected(wanted, seen.input_shape, seen.classes or None, named)
        images = load_images(sources["test"], comm, name, expected)
        split = on_all(comm, _checked, net, images, seen)
        pool = evaluation_pool(comm, net, images.images)
        try:
            return evaluate(pool, split, comm)
        finally:
            pool.close()


def _named(split: str | None, given: Mapping[str, Any]) -> Wanted:
    """Return what the user says of the arrays in files; raise ConfigError for other settings, or a split of no name."""
    if split not in (None, *SPLITS):
        raise ConfigError(f"split is {split!r}; wanted {', '.join(SPLITS)}")
    for name in given:
        if name not in NAMED:
            raise ConfigError(f"Net.evaluate takes no {name}; it takes {', '.join(NAMED)}")
    return Wanted.of(request_of(given).config)


def _checked(net: Net, images: Images, seen: Seen) -> Split:
    """Return images and labels; raise DataError unless they are such as the net was trained on."""
    names = images.classes if seen.classes else None
    check_images(images.name, images.images, images.scale, names, seen, "the net")
    if images.labels is None:
        raise DataError(f"{images.name} has no labels; wanted a label for each image")
    outputs = net.shapes[-1][0]
    if net.task.has_rows and images.labels.shape[1] != outputs:
        found = f"{images.name} has rows of {images.labels.shape[1]} labels"
        raise DataError(f"{found}, but the net has {outputs} outputs: name data of as many")
    if not net.task.has_rows and images.labels.max() >= outputs:
        found = f"{images.name} has labels up to {images.labels.max()}"
        raise DataError(f"{found}, but the net has classes 0 to {outputs - 1}: name data of the same classes")
    return Split(images.images, images.labels)
