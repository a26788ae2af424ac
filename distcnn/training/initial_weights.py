"""Initial weights from a file (--init-from): which arrays a net takes from it, and which start anew.

All arrays of the file must be those of the net, by name and shape. The head, which is the last layer with parameters,
may be of another size: it then starts anew. So it does if it gives other classes, or was trained for another task. The
normalization of images comes with the weights if the file has it and pixels mean the same, and the standardization of
targets comes with the head, so that the net computes what it has computed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distcnn.config.tasks import Task
from distcnn.errors import CheckpointError
from distcnn.layers import BatchNorm2D
from distcnn.network.net import Net
from distcnn.network.targets import Moments
from distcnn.parallel.collective import on_all, on_root
from distcnn.system.counts import plural
from distcnn.training import kept_targets
from distcnn.training.output_names import are_others
from distcnn.training.weights_source import Shape, Source, opened

if TYPE_CHECKING:
    from distcnn.training.trainer import Trainer

COUNTER = "num_batches_tracked"  # of PyTorch's batch norms; ours have none
REMEDY = "use the --model and the image size that it was trained with"


class Initial(NamedTuple):
    """What a net begins with.

    arrays: by name; those that are missing start anew.
    normalization: mean and standard deviation of each channel, float32 [c]; None: as the settings say.
    targets: mean and standard deviation of each target, float32 [outputs]; None: those of the data.
    are_learned: whether the file says these targets.
    note: a line for the user.
    """

    arrays: dict[str, np.ndarray]
    normalization: Moments | None
    targets: Moments | None
    are_learned: bool
    note: str


def begin(trainer: Trainer) -> None:
    """Let a new training begin with the weights that --init-from names, if it names any. Collective.

    Raises CheckpointError, on every rank, if the file cannot be read or is of another network.
    """
    config, dataset = trainer.config, trainer.dataset
    if config.init_from is None:
        return
    pixels = "" if config.normalize == "none" else dataset.scale
    found = on_root(trainer.comm, initial, config.init_from, trainer.net, dataset.classes, pixels)
    trainer.notes.append(found.note)
    if found.are_learned:
        pairs = found.targets, trainer.replica.targets
        trainer.notes += on_all(trainer.comm, kept_targets.told, *pairs, dataset.classes)
    trainer.replica.begin_with(found.arrays, found.normalization, found.targets)


def initial(path: str, net: Net, classes: Sequence[str], pixels: str) -> Initial:
    """Return what a net begins with.

    path: of a checkpoint, a run's folder or a safetensors file.
    net: the net.
    classes: the names of the classes of the data.
    pixels: the type that says what the pixels of the data mean; "": the settings say how images are normalized.
    """
    shapes = {name: array.shape for name, array in net.arrays.items()}
    with opened(path) as source:
        head, reason = _new_head(source, net.task, shapes, classes)
        taken = {name: shape for name, shape in shapes.items() if name not in head}
        _require_same(source, taken, [*head, *_counters(net)])
        arrays = {name: source.read(name) for name in taken}
    _require_sound(source.where, arrays)
    normalization = source.normalization if pixels and _normalizes(source, net, pixels) else None
    targets = _targets(source, net) if net.task.standardizes and not head else None
    note = f"initial weights: {len(arrays)} of {len(shapes)} arrays from {source.where}"
    note += ", images normalized as there" if normalization else ""
    are_learned = bool(targets and source.targets)
    note += ", targets standardized as there" if are_learned else ""
    note += ", targets as they are, as it says no standardization" if targets and not are_learned else ""
    note += f"; {', '.join(head)} start anew: {reason}" if head else ""
    return Initial(arrays, normalization, targets, are_learned, note)


def _targets(source: Source, net: Net) -> Moments:
    """Return the standardization of targets that the head in a file has learned: 0 and 1 if the file says none.

    Raises CheckpointError if what it says is none.
    """
    outputs = net.shapes[-1]
    mean, std = source.targets or (np.zeros(outputs, np.float32), np.ones(outputs, np.float32))
    are_right = mean.shape == std.shape == outputs and np.isfinite([mean, std]).all() and (std > 0).all()
    if not are_right:
        found = "its mean and standard deviation of targets are not those of a net"
        raise CheckpointError(f"{source.where}: {found}; use another file")
    return mean, std


def _normalizes(source: Source, net: Net, pixels: str) -> bool:
    """Return whether the normalization in a file is one for the images of a net; pixels: as in `initial`."""
    if source.normalization is None or source.pixels != pixels:
        return False
    mean, std = source.normalization
    return mean.shape == net.input_shape[:1] and bool(np.isfinite([mean, std]).all() and (std > 0).all())


def _new_head(
    source: Source, task: Task, shapes: Mapping[str, Shape], classes: Sequence[str]
) -> tuple[list[str], str]:
    """Return the names of the head's arrays and the reason, if the head starts anew; else no names.

    task: of the net.
    shapes: of all arrays of the net.
    classes: the names of its outputs.
    """
    last = max((_layer(name) for name in shapes), default=0)
    head = [name for name in shapes if _layer(name) == last]
    there = [source.shapes.get(name) for name in head]
    here = [shapes[name] for name in head]
    if there and all(shape is None for shape in there):
        return head, "the file has none"
    if there != here and all(a and a[1:] == b[1:] for a, b in zip(there, here, strict=True)):
        return head, f"{there[0][:1][0]} outputs there, {here[0][0]} here"  # type: ignore[index]
    if there == here and source.task not in ("", task.name):
        return head, f"trained for {source.task} there"
    if there == here and are_others(source.classes, classes):
        return head, f"other {plural(2, task.output)} there"
    return [], ""


def _require_same(source: Source, wanted: Mapping[str, Shape], ignored: Sequence[str]) -> None:
    """Raise CheckpointError, which names the first difference, unless a source has just the arrays that are wanted.

    ignored: names of arrays that it may have, too.
    """
    where, names = f"{source.where}: of another network", [*source.shapes]
    for name, shape in wanted.items():
        found = source.shapes.get(name)
        if found is None:
            some = ", ".join(each[:40] for each in names[:3]) + (", ..." if names[3:] else "")
            found_none = f"it has no {name} {shape}; it has {some}"
            raise CheckpointError(f"{where}: {found_none}: {REMEDY}, and its names")
        if found != shape:
            raise CheckpointError(f"{where}: {name} is {found} there, {shape} here; {REMEDY}")
    for name in names:
        if name not in wanted and name not in ignored:
            shape = source.shapes[name]
            raise CheckpointError(f"{where}: it has {name[:40]} {shape}, this one not; {REMEDY}")
    if not wanted:
        reason = "nothing of it fits, as the net is one layer of another size"
        raise CheckpointError(f"{source.where}: {reason}: leave it out")


def _require_sound(where: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise CheckpointError unless all numbers are finite, and variances not below 0."""
    for name, array in arrays.items():
        if not np.isfinite(array).all() or (name.endswith(".running_var") and (array < 0).any()):
            what = "a variance below 0" if np.isfinite(array).all() else "numbers that are not finite"
            raise CheckpointError(f"{where}: {name} has {what}; use another file")


def _counters(net: Net) -> list[str]:
    """Return the names of the counters that PyTorch's batch norms have."""
    return [f"{k}.{COUNTER}" for k, layer in enumerate(net.layers) if isinstance(layer, BatchNorm2D)]


def _layer(name: str) -> int:
    """Return the number of the layer in the name of an array of a net."""
    return int(name.partition(".")[0])
