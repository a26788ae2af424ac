"""A run's state as the bytes of an HDF5 file: arrays under plain names, settings as attributes.

    parameters/NAME   float32, one dataset a parameter
    averages/NAME     likewise, and so for every other array of the auxiliary state
    mean, std         float32 [c]
    classes           the classes' names
    epoch, step       int64
    epoch_loss, epoch_correct, epoch_samples, digest    text

All else is in attributes of the file. In format 1 the last two lines of this table were attributes, too.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from distcnn.run.state import Shapes, State, digest

if TYPE_CHECKING:
    import h5py

TEXTS = ("config_toml", "data_fingerprint", "digest")
INTEGERS = ("numerics", "seed", "epoch", "step")
SUMS = ("epoch_loss", "epoch_correct", "epoch_samples")  # in decimal digits: a loss may exceed int64
SUM_DIGITS = 64  # characters of a sum, padded with blanks
CONSTANT = ("config_toml", "data_fingerprint", "numerics", "seed", "input_shape", "dtype", "classes")

Places = dict[str, list[tuple[int, int]]]  # by name: (offset, size) in bytes of each dataset in the file


class Image:
    """The bytes of an HDF5 file, used again for later states of the same run: only the numbers are replaced.

    HDF5 makes the file once. All that changes from state to state lies in contiguous datasets, whose places HDF5 tells.
    For LeNet-5 a state then takes 0.2 ms instead of 4, which would be 3 % of the 100 steps between two checkpoints.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)  # the whole file
        self._places: Places = {}
        self._constants: list | None = None  # of the state for which the file was made

    def of(self, state: State) -> memoryview:
        """Return the bytes of the file that holds this state; the next call overwrites them."""
        constants = _constants(state)
        if constants != self._constants:
            self._bytes, self._places = _file_for(state)
            self._constants = constants
        contents = _changing(state) | {key: _flat(array) for key, array in state.arrays.items()}
        for key, places in self._places.items():
            self._fill(key, places, contents[key].reshape(-1).view(np.uint8))
        return self._bytes.data

    def _fill(self, key: str, places: list[tuple[int, int]], contents: np.ndarray) -> None:
        """Copy contents, uint8 [bytes], to their places; ValueError unless they fill all places."""
        wanted = sum(size for _, size in places)
        if contents.size != wanted:
            raise ValueError(f"{key} have {contents.size} bytes, their names and shapes have {wanted}")
        end = 0
        for offset, size in places:
            begin, end = end, end + size
            self._bytes[offset : offset + size] = contents[begin:end]


def pack(state: State) -> memoryview:
    """Return an HDF5 file that holds the state, as bytes in memory; equal states give equal bytes."""
    return Image().of(state)


def unpack(image: bytes) -> State:
    """Return the State in an HDF5 file's bytes; an exception of any kind where it is not one."""
    import h5py

    with h5py.File(io.BytesIO(image), "r") as file:
        groups = {name: each for name, each in file.items() if isinstance(each, h5py.Group)}
        names_and_shapes = _names_and_shapes(file["parameters"])
        if any(_names_and_shapes(group) != names_and_shapes for group in groups.values()):
            raise ValueError(f"{', '.join(groups)} differ in names or shapes")
        arrays = {name: _read_arrays(group, len(image)) for name, group in groups.items()}
        fields: dict[str, Any] = {key: _text(_value(file, key)) for key in TEXTS}
        fields |= {key: _whole(_value(file, key)) for key in INTEGERS}
        loss, correct, samples = (int(_text(_value(file, key))) for key in SUMS)
        return State(
            **fields,
            **_read_input(file, len(image)),
            classes=tuple(file["classes"].asstr(errors="surrogateescape")[()]),
            names_and_shapes=names_and_shapes,
            parameters=arrays.pop("parameters"),
            auxiliary_state=arrays,
            epoch_sums=(loss, correct, samples),
        )


# ---- writing ----


def _constants(state: State) -> list:
    """Return what the file's structure and its constant contents depend on."""
    plain = [getattr(state, key) for key in CONSTANT]
    return [state.names_and_shapes, list(state.auxiliary_state), *plain, *map(bytes, _normalization(state))]


def _file_for(state: State) -> tuple[np.ndarray, Places]:
    """Return a file like this state's, uint8 [bytes], and the places in it of all that changes."""
    import h5py

    with h5py.File("state", "w", driver="core", backing_store=False) as file:
        _write_constants(file, state)
        made = {key: [file.create_dataset(key, data=value)] for key, value in _changing(state).items()}
        for key in state.arrays:
            group = file.create_group(key, track_order=True)
            zeros = {name: np.zeros(shape, "<f4") for name, shape in state.names_and_shapes}
            made[key] = [group.create_dataset(name, data=array) for name, array in zeros.items()]
        file.flush()
        places = {key: [_place(dataset) for dataset in datasets] for key, datasets in made.items()}
        return np.frombuffer(bytearray(file.id.get_file_image()), np.uint8), places


def _write_constants(file: h5py.File, state: State) -> None:
    import h5py

    for key in CONSTANT:
        if key != "classes":
            file.attrs[key] = getattr(state, key)
    file.create_dataset("classes", data=list(state.classes), dtype=h5py.string_dtype())
    file["mean"], file["std"] = _normalization(state)


def _place(dataset: h5py.Dataset) -> tuple[int, int]:
    """Return offset and size of a dataset in the file; an empty one has no offset."""
    return dataset.id.get_offset() or 0, dataset.nbytes


def _normalization(state: State) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(state.mean, "<f4"), np.asarray(state.std, "<f4")


def _changing(state: State) -> dict[str, np.ndarray]:
    """Return what differs from step to step apart from the arrays, each of a size that does not."""
    sums = zip(SUMS, state.epoch_sums, strict=True)
    contents: dict[str, Any] = {key: str(value).encode().ljust(SUM_DIGITS) for key, value in sums}
    contents |= {"epoch": np.int64(state.epoch), "step": np.int64(state.step)}
    contents["digest"] = (state.digest or digest(state.result)).encode()
    return {key: np.asarray(value) for key, value in contents.items()}


def _flat(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, "<f4")


# ---- reading ----


def _names_and_shapes(group: h5py.Group) -> Shapes:
    return [(name, array.shape) for name, array in group.items()]


def _read_arrays(group: h5py.Group, limit: int) -> np.ndarray:
    """Return the arrays of a group one after the other, float32, flat."""
    arrays = [_read_array(array, limit).ravel() for array in group.values()]
    return np.concatenate(arrays) if arrays else np.empty(0, np.float32)


def _read_array(array: h5py.Dataset, limit: int) -> np.ndarray:
    """Return a dataset as float32; ValueError if it cannot lie in a file of `limit` bytes, whatever its shape says."""
    if array.dtype != "<f4" or array.id.get_offset() is None or array.nbytes > limit:
        raise ValueError(f"{array.name} is not a plain float32 array")
    return array[()].astype(np.float32, copy=False)


def _read_input(file: h5py.File, limit: int) -> dict[str, Any]:
    """Return the fields of a State that describe the net's input."""
    shape = tuple(_whole(size) for size in file.attrs["input_shape"])
    mean, std = _read_array(file["mean"], limit), _read_array(file["std"], limit)
    if len(shape) != 3 or not mean.shape == std.shape == shape[:1]:
        raise ValueError("mean and standard deviation do not fit the input's shape")
    dtype = _text(file.attrs.get("dtype", ""))
    return {"input_shape": shape, "mean": mean, "std": std, "dtype": dtype}


def _value(file: h5py.File, key: str) -> Any:
    """Return a text or a number: a dataset's if there is one of this name, else an attribute's, as in format 1."""
    if key not in file:
        return file.attrs[key]
    if file[key].shape != () or file[key].dtype.kind not in "iS":
        raise ValueError(f"{key} is not a single number or text")
    return file[key][()]


def _text(value: Any) -> str:
    """Return a text, which may be stored as bytes; ValueError if the value is none."""
    value = value.decode() if isinstance(value, bytes) else value
    if not isinstance(value, str):
        raise ValueError(f"found {value!r}, wanted a text")
    return value


def _whole(value: Any) -> int:
    """Return a whole number from 0; ValueError if the value is none."""
    if not isinstance(value, np.integer) or int(value) < 0:
        raise ValueError(f"found {value!r}, wanted a whole number")
    return int(value)
