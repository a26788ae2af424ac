"""MATLAB's files of version 5 (-v6 and -v7), of which arrays of numbers and of characters are read.

After a header of 128 bytes come elements: the type and the number of bytes, as uint32 each, then the content, up to a
multiple of 8 bytes. A matrix is an element of elements: flags, dimensions, name, values. Source: MathWorks, "MAT-File
Format".
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from math import prod

import numpy as np

from distcnn.data.importers.archive import unpacked_limit
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError

HEADER = 128
MATRIX, COMPRESSED = 14, 15
TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
CHARACTERS = 4  # the class of text
AXES = 32  # that an array may have

Element = tuple[int, memoryview]  # (type, content)


def variables(where: str, content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, array) of the variables in a file's content; cells, structures and complex numbers are left out.

    where: the file, for messages

    Raises DataError for what is not such a file.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or len(content) < HEADER:
        remedy = "save it with save(..., '-v7') or '-v7.3'"
        raise DataError(f"{where} is not a file of MATLAB 5 or later: {remedy}")
    left = min(MEMORY_LIMIT, unpacked_limit(len(content)))
    try:
        for kind, inside in _elements(memoryview(content)[HEADER:], order):
            if kind == COMPRESSED:
                unpacked = _unpacked(inside, left)
                left -= len(unpacked)
                kind, inside = next(_elements(memoryview(unpacked), order))
            if kind == MATRIX and (found := _matrix(inside, order)):
                yield found
    except (ValueError, IndexError, StopIteration, RuntimeError, zlib.error) as error:
        reason = " ".join(str(error).split()) or "it ends too early"
        raise DataError(f"{where} is damaged ({reason}): save it again") from None


def _elements(content: memoryview, order: str) -> Iterator[Element]:
    """Yield the elements in a content, one after the other."""
    start = 0
    while len(content) - start >= 8:
        kind, size = np.frombuffer(content, f"{order}u4", 2, start).tolist()
        if kind >> 16:  # a small element: type and size share four bytes, and at most four of content follow
            kind, size, begin, after = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        else:
            begin = start + 8
            after = begin + (size if kind == COMPRESSED else (size + 7) // 8 * 8)
        if begin + size > min(after, len(content)):
            raise ValueError(f"an element of {size} bytes, of which {len(content) - begin} are there")
        yield kind, content[begin : begin + size]
        start = after


def _unpacked(packed: memoryview, limit: int) -> bytes:
    """Return the content of a compressed element; raise ValueError if it has more bytes than the limit."""
    machine = zlib.decompressobj()
    found = machine.decompress(packed, limit + 1)
    if len(found) > limit:
        raise ValueError(f"it unpacks to more than {limit >> 20} MiB, the limit for a file of its size")
    return found


def _matrix(content: memoryview, order: str) -> tuple[str, np.ndarray] | None:
    """Return the name and the array of a matrix, its axes in MATLAB's order; None if it holds no numbers or text."""
    parts = _elements(content, order)
    flags = int(np.frombuffer(next(parts)[1], f"{order}u4", 1)[0])
    kind, is_complex = flags & 0xFF, flags >> 11 & 1
    if is_complex or kind not in (*CLASSES, CHARACTERS):
        return None
    shape = tuple(np.frombuffer(next(parts)[1], f"{order}i4").tolist())
    name = bytes(next(parts)[1]).decode(errors="replace")
    stored, values = next(parts)
    if len(shape) > AXES or min(shape, default=0) < 0 or stored not in TYPES:
        raise ValueError("a false header of an array")
    dtype = np.dtype(order + TYPES[stored])
    if prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name} has {len(values)} bytes, but its shape {shape} needs another number")
    array = np.frombuffer(values, dtype).reshape(shape, order="F")
    if kind == CHARACTERS:
        return name, _texts(array)
    return name, array.astype(CLASSES[kind], copy=False)


def _texts(codes: np.ndarray) -> np.ndarray:
    """Return the rows of a matrix of characters as text."""
    rows = codes.reshape(len(codes), -1).tolist() if codes.size else []
    return np.array(["".join(map(chr, row)).rstrip() for row in rows])
