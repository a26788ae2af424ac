"""The weights in a file that --init-from names: a checkpoint of ours, or safetensors, as PyTorch's users write it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from distcnn.config.tasks import TASKS
from distcnn.errors import CheckpointError
from distcnn.exchange.safetensors_reader import SafetensorsFile
from distcnn.network.targets import Moments
from distcnn.run import checkpoint
from distcnn.run.state import State
from distcnn.system.regular_files import open_regular
from distcnn.training.load import find

Shape = tuple[int, ...]

CHECKPOINT = b"distcnn checkpoint"  # how a checkpoint begins
PICKLES = b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"  # how files of torch.save begin
NUMBERS = "scale", "shift", "target_mean", "target_std"  # in the metadata of our export, in JSON
WANTED = "wanted a checkpoint of distcnn, the folder of a run, or a safetensors file"


@dataclass(frozen=True)
class Source:
    """The weights in a file.

    where: the name of the file, for messages.
    shapes: of all arrays, by name.
    read: returns an array by name, float32; raises CheckpointError if that fails.
    classes: the names of the classes; () if the file does not say.
    normalization: mean and standard deviation of each channel, float32 [c]; None if the file does not say.
    pixels: the type that says what pixels mean, `Dataset.scale`; "" if the file does not say.
    task: the name of the task for which the net was trained; "" if the file does not say.
    targets: mean and standard deviation of each target, float32 [outputs]; None if the file does not say.
    """

    where: str
    shapes: Mapping[str, Shape]
    read: Callable[[str], np.ndarray]
    classes: tuple[str, ...] = ()
    normalization: Moments | None = None
    pixels: str = ""
    task: str = ""
    targets: Moments | None = None


@contextmanager
def opened(path: str) -> Iterator[Source]:
    """Yield the weights in a file, or in the newest checkpoint of a run's folder, while the file is open.

    Raises CheckpointError for whatever else it is.
    """
    if os.path.isdir(path):
        yield _of_state(*find(path))
        return
    try:
        file = open_regular(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}; {WANTED}") from None
    with file:
        begin = file.read(len(CHECKPOINT))
        if begin.startswith(CHECKPOINT):
            yield _of_state(Path(path), checkpoint.load(path))
        elif begin.startswith(PICKLES) and begin[8:9] != b"{":
            save = f"save_file(torch.load({os.path.basename(path)!r}, weights_only=True), 'net.safetensors')"
            found = f"{path}: a pickle of torch.save, which can run code when it is read"
            raise CheckpointError(f"{found}: in PyTorch write it anew, by safetensors.torch: {save}")
        else:
            yield _of_safetensors(path, file)


def _of_state(path: Path, state: State) -> Source:
    """Return the weights of a state that training has saved: the EMA weights, if it has them."""
    arrays, start = {}, 0
    for name, shape in state.names_and_shapes:
        stop = start + int(np.prod(shape))
        arrays[name], start = state.result[start:stop].reshape(shape), stop
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    normalization, targets = (state.mean, state.std), (state.target_mean, state.target_std)
    about = tuple(state.classes), normalization, state.dtype, state.task.name
    return Source(str(path), shapes, arrays.__getitem__, *about, targets if len(targets[0]) else None)


def _of_safetensors(path: str, file: BinaryIO) -> Source:
    """Return the weights in an open safetensors file, with what our export has written into its metadata."""
    try:
        found = SafetensorsFile(file)
        metadata = found.metadata
        classes = _listed(metadata.get("classes", "[]"), str)
        scale, shift, mean, std = (_numbers(metadata.get(key, "[]")) for key in NUMBERS)
    except (ValueError, RecursionError, OSError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise CheckpointError(f"{path}: not a safetensors file: {reason}; {WANTED}") from None
    shapes = {name: tensor.shape for name, tensor in found.tensors.items()}
    read = partial(_read, found, path)
    with np.errstate(over="ignore"):  # what is not finite is refused where it is used
        targets = mean.astype(np.float32), std.astype(np.float32)
    pixels, task = metadata.get("pixels", ""), metadata.get("task", "")
    about = tuple(classes), _normalization(scale, shift), pixels, task if task in TASKS else ""
    return Source(path, shapes, read, *about, targets if len(mean) or len(std) else None)


def _normalization(scale: np.ndarray, shift: np.ndarray) -> Moments | None:
    """Return the mean and the standard deviation that give a scale and a shift; None unless these fit together."""
    if scale.shape != shift.shape:
        return None
    with np.errstate(all="ignore"):  # what is not finite is not used
        return (-shift / scale).astype(np.float32), (1 / scale).astype(np.float32)


def _read(file: SafetensorsFile, path: str, name: str) -> np.ndarray:
    try:
        return file.read(name)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; use another copy of it") from None


def _numbers(text: str) -> np.ndarray:
    """Return the numbers in a text of JSON; raise ValueError unless it is a list of them."""
    return np.array(_listed(text, float))


def _listed(text: str, kind: type) -> list:
    """Return the list in a text of JSON; raise ValueError unless all its entries are of one kind."""
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(each, kind) for each in found):
        raise ValueError("its metadata are not those of distcnn's export")
    return found
