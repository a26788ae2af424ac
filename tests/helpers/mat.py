"""Files of MATLAB 5, written by its specification, as a reference for the reader."""

import struct
import zlib

import numpy as np

TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 9, "i8": 12, "u8": 13}
CLASSES = {"f8": 6, "f4": 7, "i1": 8, "u1": 9, "i2": 10, "u2": 11, "i4": 12, "u4": 13, "i8": 14, "u8": 15}
CHARACTERS = 4


def element(kind, content, order="<", small=True):
    """Return an element, in the short form if it is small and that is asked for."""
    if small and 0 < len(content) <= 4:
        return struct.pack(f"{order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(name, array, order="<", packed=False, stored=None, flags=0):
    """Return the element of an array; stored: the type of the values, if it is another; packed: compressed."""
    code = array.dtype.str[1:]
    shape = array.shape if array.ndim > 1 else (1, array.size)
    values = np.asarray(array, order + (stored or code)).tobytes(order="F")
    parts = (
        element(6, struct.pack(f"{order}II", CLASSES[code] | flags, 0), order)
        + element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
        + element(1, name.encode(), order)
        + element(TYPES[stored or code], values, order)
    )
    whole = struct.pack(f"{order}II", 14, len(parts)) + parts
    if not packed:
        return whole
    content = zlib.compress(whole)
    return struct.pack(f"{order}II", 15, len(content)) + content


def text(name, rows, order="<"):
    """Return the element of a matrix of characters."""
    codes = np.array(
        [[ord(letter) for letter in row.ljust(max(map(len, rows)))] for row in rows], f"{order}u2"
    )
    parts = (
        element(6, struct.pack(f"{order}II", CHARACTERS, 0), order)
        + element(5, struct.pack(f"{order}2i", *codes.shape), order)
        + element(1, name.encode(), order)
        + element(4, codes.tobytes(order="F"), order)
    )
    return struct.pack(f"{order}II", 14, len(parts)) + parts


def mat(*elements, order="<"):
    """Return a file."""
    version = struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    return b"MATLAB 5.0 MAT-file".ljust(124) + version + b"".join(elements)
