"""A strict reader of safetensors files, which may come from anybody: it reads numbers and texts, and nothing else.

A file is the length of its header (8 bytes, little-endian), the header in JSON, and the numbers of all tensors one
after the other. The header gives each tensor its type, its shape and its place. Nothing is allocated for a tensor
before the caller has seen its shape and asks for it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

HEADER_LIMIT = 2**22  # bytes
METADATA = "__metadata__"
TYPES = {
    "F16": "<f2",
    "BF16": "<u2",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
}  # those that a net's arrays may have


class Tensor(NamedTuple):
    """A tensor in a file: its type, such as "F32", its shape, and where its bytes lie behind the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class SafetensorsFile:
    """The header of a safetensors file.

    tensors: by name.
    metadata: texts by name.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the header of an open file; raise ValueError, which says what is wrong, if it is not a valid one."""
        size = os.fstat(file.fileno()).st_size
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, HEADER_LIMIT):
            raise ValueError(f"its header would have {length:,} bytes")
        header = _object(file.read(length))
        self._file, self._begin = file, 8 + length
        self.metadata = _texts(header.pop(METADATA, {}))
        self.tensors = {name: _tensor(name, value) for name, value in header.items()}
        _require_gapless(self.tensors, size - self._begin)

    def read(self, name: str) -> np.ndarray:
        """Return a tensor as float32; raise ValueError if the file has become shorter."""
        tensor = self.tensors[name]
        self._file.seek(self._begin + tensor.start)
        found = np.fromfile(self._file, TYPES[tensor.dtype], math.prod(tensor.shape))
        if found.nbytes != tensor.stop - tensor.start:
            raise ValueError(f"{name!r} is not stored to its end")
        if tensor.dtype == "BF16":  # the upper half of a float32
            found = (found.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):  # infinity, which the caller refuses
            return found.reshape(tensor.shape).astype(np.float32)


def _object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in a header; raise ValueError for anything else, and for a key that occurs twice."""
    try:
        found = json.loads(content.decode(), object_pairs_hook=_unique)
    except ValueError as error:
        raise ValueError(f"its header is not JSON: {str(error)[:60]}") from None
    if not isinstance(found, dict):
        raise ValueError("its header is not an object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _texts(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise ValueError("its metadata are not texts")
    return found


def _tensor(name: str, found: Any) -> Tensor:
    """Return the tensor that an entry of the header describes; raise ValueError unless all of it fits together."""
    if not isinstance(found, dict) or found.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:60]!r} has no type, shape and place")
    dtype, shape, place = found["dtype"], found["shape"], found["data_offsets"]
    if dtype not in [*TYPES]:
        raise ValueError(f"{name[:60]!r} is of type {str(dtype)[:20]!r}, wanted float32")
    if not _is_list_of_counts(shape) or not _is_list_of_counts(place) or len(place) != 2:
        raise ValueError(f"{name[:60]!r} has a shape or a place that is not in whole numbers")
    start, stop = place
    if math.prod(shape) * np.dtype(TYPES[dtype]).itemsize != stop - start:
        raise ValueError(f"{name[:60]!r} has another size than its shape")
    return Tensor(dtype, tuple(shape), start, stop)


def _is_list_of_counts(found: Any) -> bool:
    return (
        isinstance(found, list) and len(found) <= 32 and all(type(n) is int and 0 <= n < 2**63 for n in found)
    )


def _require_gapless(tensors: dict[str, Tensor], size: int) -> None:
    """Raise ValueError unless the tensors fill the file behind its header, without gaps and overlaps."""
    end = 0
    for tensor in _in_order(tensors.values()):
        if tensor.start != end:
            raise ValueError("its tensors have gaps or overlap")
        end = tensor.stop
    if end != size:
        raise ValueError(f"its tensors end after {end:,} bytes, the file after {size:,}")


def _in_order(tensors: Iterable[Tensor]) -> list[Tensor]:
    return sorted(tensors, key=lambda tensor: (tensor.start, tensor.stop))
