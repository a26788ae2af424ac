"""Arrays of encoded images: each value is the content of a JPEG or PNG file."""

from __future__ import annotations

import numpy as np

from distcnn.data.importers import archive
from distcnn.data.importers.collector import Collector, Differ
from distcnn.data.importers.decoding import Item, decode_all
from distcnn.data.importers.importer import Options
from distcnn.data.importers.pictures import Format, Picture, Unusable
from distcnn.errors import DataError


def is_encoded(dtype: np.dtype) -> bool:
    """Return whether an array may hold encoded images: arrays of bytes, of several lengths, or strings of bytes."""
    return dtype.hasobject or dtype.kind in "SV"


def decoded(where: str, name: str, values: np.ndarray, options: Options) -> np.ndarray:
    """Return encoded images as uint8 or float32 [n, c, h, w]; raise DataError for one that cannot be used."""
    contents = [_content(where, name, value) for value in values.reshape(-1)]
    keys = [f"{name}[{k}]" for k in range(len(contents))]
    places = {key: ("all", k) for k, key in enumerate(keys)}
    collector = Collector(where, places, {"all": len(keys)})
    wanted = Format(options.size, options.fit, 1 if options.gray else None, options.pixels)
    items = (Item(key, content, wanted, archive.LIMIT) for key, content in zip(keys, contents, strict=True))
    try:
        for key, found in decode_all(items, len(keys), options.processes):
            if isinstance(found, Unusable):
                raise DataError(f"{where}: {key} {found.found}: replace it")
            if isinstance(found, Picture):
                collector.add(key, found)
    except Differ:
        raise DataError(
            f"{where}: {name} has images of several sizes or depths: add --size HxW, or --pixels"
        ) from None
    for note in collector.notes():
        options.note(note)
    return collector.images["all"]


def _content(where: str, name: str, value: object) -> bytes:
    """Return the content of an encoded image."""
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        return value.tobytes()
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.void):
        return value.tobytes()
    raise DataError(
        f"{where}: {name} holds neither numbers nor encoded images: name another array, --images NAME"
    )
