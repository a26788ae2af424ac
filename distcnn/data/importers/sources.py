"""What a dataset is imported from: told apart by the names of the files, never by options."""

import os
from pathlib import Path

from distcnn.data.importers import cifar, folders, idx
from distcnn.data.importers.archive import files
from distcnn.data.importers.writer import Samples
from distcnn.errors import DataError

WANTED = "wanted MNIST's four IDX files, CIFAR's binary version, or train/CLASS/IMAGE.jpg"


def samples(source: str | Path, size=None, grey=False, progress=folders.silent) -> Samples:
    """Return the samples of a folder or archive; arguments as for `folders.samples`.

    Raises DataError for what is none of these, and for `size` and `grey` where there are no image files.
    """
    if os.path.isdir(source) and any(map(idx.NAME.search, os.listdir(source))):
        _refuse_options(source, size, grey)
        return idx.samples(source)
    names = _names(source)
    if cifar.is_cifar(names):
        _refuse_options(source, size, grey)
        return cifar.samples(source)
    images = list(filter(folders.is_image, names))
    if not images:
        raise DataError(f"{source} holds {len(names)} files, none of which is known; {WANTED}")
    return folders.samples(source, images, size, grey, progress)


def _names(source):
    names = []
    for _ in files(source, lambda name: names.append(name)):  # none is wanted yet
        pass
    return names


def _refuse_options(source, size, grey):
    if size or grey:
        option = "--size" if size else "--grey"
        raise DataError(f"{source} holds no image files, so {option} is not possible; leave it out")
