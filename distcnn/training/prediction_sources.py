"""The images that a user names for prediction: image files, folders and archives of them, and HDF5 files."""

from __future__ import annotations

import argparse
from itertools import groupby
from pathlib import Path

import numpy as np

from distcnn.config.settings import option
from distcnn.data.data_options import ARRAYS
from distcnn.data.expected import Expected
from distcnn.data.images import BARE, Images, load_images
from distcnn.data.importers.unlabeled import LIMIT, Unlabeled, expanded, holds_pictures, read_pictures
from distcnn.data.stream.images import StreamedImages
from distcnn.errors import ConfigError, DataError
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.run.state import State
from distcnn.system.terminal_text import warn
from distcnn.training.load import check_images
from distcnn.training.picture_format import picture_format


def load_sources(
    comm: Comm, state: State, where: Path, options: argparse.Namespace, expected: Expected
) -> Images:
    """Return the images in the sources, one after the other, with their names. Collective.

    state: of a trained net
    where: the checkpoint that holds the state, for messages
    options: with `sources`, `split` and `skip_damaged`
    expected: what the net says of images in HDF5 files

    Raises DataError, on all ranks, if a source cannot be read or does not fit the net.
    """
    paths = on_root(comm, expanded, options.sources)
    on_root(comm, require_effect, options, paths)
    parts = []
    for are_pictures, group in groupby(paths, holds_pictures):
        some = list(group)
        if are_pictures:
            parts.append(_of_pictures(comm, state, where, some, options.skip_damaged))
        else:
            parts += [_of_file(comm, state, where, path, options.split, expected) for path in some]
    if len(parts) == 1:
        return parts[0]
    on_all(comm, _require_memory, parts)
    images = np.concatenate([part.images for part in parts])
    names = tuple(name for part in parts for name in _names(part))
    return Images(images, None, None, _title(paths), BARE, parts[0].scale, names)


def require_effect(options: argparse.Namespace, paths: list[str]) -> None:
    """Raise ConfigError if the user gives an option that applies to none of the sources; paths: of them, if any."""
    are_pictures = [holds_pictures(path) for path in paths]
    of_files = [name for name in ("split", *ARRAYS, "layout", "map_labels") if getattr(options, name)]
    if of_files and are_pictures and all(are_pictures):
        raise ConfigError(f"{option(of_files[0])} does nothing for image files: leave it out")
    if options.skip_damaged and not any(are_pictures):
        raise ConfigError("--skip-damaged does nothing for HDF5 files: leave it out")


def _require_memory(parts: list[Images]) -> None:
    """Raise DataError if images do not fit into the memory of each rank, which will hold a copy of all."""
    for part in parts:
        if isinstance(part.images, StreamedImages):
            raise DataError(f"{part.name} has more than 4 GiB of images: predict it without other sources")
    size = sum(part.images.nbytes for part in parts)
    if size > LIMIT:
        found = f"all images take {size / 2**30:.1f} GiB; at most {LIMIT >> 30} GiB from several sources"
        raise DataError(f"{parts[0].name} and others: {found}: predict each HDF5 file on its own")


def _of_pictures(comm: Comm, state: State, where: Path, paths: list[str], skip_damaged: bool) -> Images:
    """Return the images in image files, folders and archives, which rank 0 decodes for all."""

    def read() -> Unlabeled:
        wanted, one_size = picture_format(state, where, warn)
        return read_pictures(paths, wanted, skip_damaged, one_size, warn)

    found = on_root(comm, read)
    scale = state.dtype or found.images.dtype.name  # pictures become what the net was trained on
    on_all(comm, check_images, paths[0], found.images, scale, None, state, where)
    return Images(found.images, None, None, _title(paths), BARE, scale, found.names)


def _of_file(
    comm: Comm, state: State, where: Path, path: str, split: str | None, expected: Expected
) -> Images:
    """Return the images in an HDF5 file."""
    found = load_images(path, comm, split, expected)
    on_all(comm, check_images, found.name, found.images, found.scale, found.classes, state, where)
    return found


def _names(part: Images) -> list[str]:
    """Return a name for each image."""
    return list(part.names or (f"{part.name} {k}" for k in range(len(part.images))))


def _title(paths: list[str]) -> str:
    """Return a phrase on paths."""
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
