"""The state of a run, and how it lies in HDF5: arrays under plain names, texts and numbers as attributes."""

import hashlib
import io
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import prod

import numpy as np

from distcnn.errors import CheckpointError

TEXTS = ("config_toml", "data_fingerprint", "digest")
WHOLES = ("numerics", "seed", "epoch", "step")
SUMS = ("epoch_loss", "epoch_correct", "epoch_samples")  # as decimals: a loss may exceed int64


@dataclass(eq=False)
class State:
    """Everything that later bits depend on, and nothing that belongs to one rank."""

    config_toml: str
    numerics: int
    seed: int
    data_fingerprint: str
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]  # c, h, w
    mean: np.ndarray  # float32 [c], of the training images
    std: np.ndarray  # float32 [c]
    names_and_shapes: list[tuple[str, tuple[int, ...]]]  # of the parameters, in declaration order
    parameters: np.ndarray  # float32, flat
    velocities: np.ndarray  # float32, flat
    epoch: int
    step: int  # finished steps in total
    epoch_sums: tuple[int, int, int]  # of this epoch so far: loss in units of 2^-36, correct, samples
    finished: bool
    digest: str = ""  # of the parameters; `pack` finds it out where it is missing


def digest(*arrays):
    """Return the SHA-256, in hex, over arrays one after the other as little-endian float32."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array, "<f4"))
    return total.hexdigest()


def require_parameters(state, names_and_shapes, where):
    """Raise CheckpointError unless the state from `where` has just these parameters in this order."""
    for found, wanted in zip_longest(state.names_and_shapes, names_and_shapes, fillvalue=("nothing", ())):
        if (found[0], tuple(found[1])) != (wanted[0], tuple(wanted[1])):
            raise CheckpointError(
                f"{where}: of another model: has {found[0]} {tuple(found[1])}, wanted {wanted[0]} "
                f"{tuple(wanted[1])}; use the model, image size and classes that it was trained with"
            )


def pack(state):
    """Return the bytes of an HDF5 file that holds the state; equal states give equal bytes."""
    import h5py

    if not state.digest:
        state = replace(state, digest=digest(state.parameters))
    with h5py.File("state", "w", driver="core", backing_store=False) as file:
        for key in TEXTS:
            file.attrs[key] = getattr(state, key)
        for key in WHOLES:
            file.attrs[key] = np.int64(getattr(state, key))
        for key, value in zip(SUMS, state.epoch_sums, strict=True):
            file.attrs[key] = str(value)
        file.attrs["finished"] = np.bool_(state.finished)
        file.attrs["input_shape"] = np.asarray(state.input_shape, np.int64)
        file.create_dataset("classes", data=list(state.classes), dtype=h5py.string_dtype())
        for key in ("mean", "std"):
            file[key] = np.asarray(getattr(state, key), "<f4")
        for key in ("parameters", "velocities"):
            group = file.create_group(key, track_order=True)
            _write_arrays(group, getattr(state, key), state.names_and_shapes)
        file.flush()
        return file.id.get_file_image()


def unpack(image):
    """Return the State in an HDF5 file's bytes; an exception of any kind where it is not one."""
    import h5py

    with h5py.File(io.BytesIO(image), "r") as file:
        names_and_shapes = [(name, array.shape) for name, array in file["parameters"].items()]
        if [(name, array.shape) for name, array in file["velocities"].items()] != names_and_shapes:
            raise ValueError("velocities differ from parameters in name or shape")
        shape = tuple(int(_checked(size, np.integer)) for size in file.attrs["input_shape"])
        mean, std = _array(file["mean"], len(image)), _array(file["std"], len(image))
        if len(shape) != 3 or not mean.shape == std.shape == shape[:1]:
            raise ValueError("mean and standard deviation do not fit the input's shape")
        return State(
            **{key: _checked(file.attrs[key], str) for key in TEXTS},
            **{key: int(_checked(file.attrs[key], np.integer)) for key in WHOLES},
            classes=tuple(file["classes"].asstr(errors="surrogateescape")[()]),
            input_shape=shape,
            mean=mean,
            std=std,
            names_and_shapes=names_and_shapes,
            parameters=_read_arrays(file["parameters"], len(image)),
            velocities=_read_arrays(file["velocities"], len(image)),
            epoch_sums=tuple(int(_checked(file.attrs[key], str)) for key in SUMS),
            finished=bool(_checked(file.attrs["finished"], np.bool_)),
        )


def _write_arrays(group, flat, names_and_shapes):
    """Store a flat buffer as the arrays that it holds one after the other."""
    end = 0
    for name, shape in names_and_shapes:
        begin, end = end, end + prod(shape)
        group[name] = np.asarray(flat[begin:end], "<f4").reshape(shape)
    if end != flat.size:
        raise ValueError(f"{group.name} has {flat.size} values, its names and shapes have {end}")


def _read_arrays(group, most):
    arrays = [_array(array, most).ravel() for array in group.values()]
    return np.concatenate(arrays) if arrays else np.empty(0, np.float32)


def _array(array, most):
    """Return a dataset as float32; it must lie in a file of `most` bytes, so that no shape is too large."""
    if array.dtype != "<f4" or array.id.get_offset() is None or array.nbytes > most:
        raise ValueError(f"{array.name} is not a plain float32 array")
    return array[()].astype(np.float32, copy=False)


def _checked(value, kind):
    """Return the value if it is of the kind wanted, and not below 0 where it is a number."""
    if not isinstance(value, kind) or (kind is np.integer and value < 0):
        raise ValueError(f"found {value!r}, wanted {kind.__name__}")
    return value
