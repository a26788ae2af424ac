"""Write chunks, which are encoded already, to the file of a dataset that appears complete or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from distcnn.config.types import CLASSIFY
from distcnn.data.importers.writer import format_for
from distcnn.data.packing.content import Content, Rows
from distcnn.data.packing.encoding import Chunks, Storage
from distcnn.errors import DataError
from distcnn.system.atomic_files import atomic_file, output_error


def _as_output_error(method: Callable[..., None]) -> Callable[..., None]:
    """Let a method of Writer raise OutputError where the system refuses to write."""

    @wraps(method)
    def wrapped(writer: Writer, *arguments: Any) -> None:
        try:
            method(writer, *arguments)
        except OSError as error:
            raise output_error(writer.path, error) from None

    return wrapped


class Writer:
    """Writes a dataset's file: first `open`, for each split `begin` and `add`, then `finish`.

    If the block that holds it ends before that, nothing is left, and what was there before stays.

    path: the file.
    progress: is called with the number of images that were written.
    """

    def __init__(self, path: str | Path, progress: Callable[[int], object]) -> None:
        self.path, self._progress, self._stack = path, progress, ExitStack()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @_as_output_error
    def open(self, content: Content) -> None:
        """Begin the file, with all but images."""
        whole = self._stack.enter_context(atomic_file(self.path))
        self._file = self._stack.enter_context(h5py.File(whole, "w", libver=format_for(content.classes)))
        if content.classes is not None:
            self._file.attrs["classes"] = content.classes
        if content.task != CLASSIFY:
            self._file.attrs["task"] = content.task
        for name, text in content.attributes.items():
            self._file.attrs[name] = text
        for split, (_, labels) in content.splits.items():
            group = self._file.create_group(split)
            if labels is not None:
                group["labels"] = labels()
        if content.seal is not None:
            self._file["train"].attrs["seal"] = content.seal

    @_as_output_error
    def begin(self, split: str, images: Rows, storage: Storage) -> None:
        """Begin the images of a split."""
        packed = {"compression": "gzip", "compression_opts": storage.level} if storage.level else {}
        shape, chunks = (images.count, *images.shape), (storage.rows, *images.shape)
        shuffle = bool(storage.level) and images.dtype.itemsize > 1
        name = f"{split}/images"
        self._images = self._file.create_dataset(
            name, shape, images.dtype, chunks=chunks, shuffle=shuffle, **packed
        )
        self._row = 0

    @_as_output_error
    def add(self, found: Sequence[Chunks | DataError]) -> None:
        """Write the next chunks of the split; raise the first DataError that is among them."""
        for chunks in found:
            if isinstance(chunks, DataError):
                raise chunks
            before = self._row
            for chunk in chunks:
                self._images.id.write_direct_chunk((self._row, 0, 0, 0), np.frombuffer(chunk, np.uint8))
                self._row = min(self._row + self._images.chunks[0], len(self._images))
            self._progress(self._row - before)

    @_as_output_error
    def finish(self) -> None:
        """Let the file appear under its name."""
        self._stack.close()
