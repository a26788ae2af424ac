"""STL-10 in its binary version (Coates et al. 2011), as a folder or an archive."""

import numpy as np

from distcnn.data.importers.archive import files
from distcnn.data.importers.importer import Importer, Options, Source
from distcnn.data.importers.writer import Pair, Samples
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError

SHAPE = 3, 96, 96  # of an image, whose columns lie one after the other
NAMES = "class_names.txt"
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
PARTS = {f"{split}_{kind}.bin": (split, kind) for split in ("train", "test") for kind in ("X", "y")}
UNLABELED = "unlabeled_X.bin"


def recognizes(source: Source) -> bool:
    """Return whether a source holds the file of STL-10's training images."""
    return any(_last(name) == "train_X.bin" for name in source.names)


def read_stl(source: Source, options: Options) -> Samples:
    """Return the samples; labels, which count from 1 in the files, count from 0."""
    found = {
        _last(name): content
        for name, content in files(source.path, lambda name: _last(name) in (*PARTS, NAMES), MEMORY_LIMIT)
    }
    if any(_last(name) == UNLABELED for name in source.names):
        options.note(f"not used: {UNLABELED}, images without labels")
    lines = found.pop(NAMES, b"").decode(errors="replace").split()
    classes = tuple(lines) or CLASSES
    splits: dict[str, Pair] = {}
    for split in ("train", "test"):
        images, labels = (found.get(f"{split}_{kind}.bin") for kind in ("X", "y"))
        if images is not None or labels is not None or split == "train":
            splits[split] = _pair(source, split, images or b"", labels or b"", len(classes))
    return Samples(splits, classes)


def _pair(source: Source, split: str, images: bytes, labels: bytes, classes: int) -> Pair:
    """Return the images and labels in two files."""
    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    if not labels or len(images) != size * len(labels):
        found = f"{split}_X.bin has {len(images)} bytes, and {split}_y.bin {len(labels)} labels"
        raise DataError(f"{source.path}: {found}; wanted {size} bytes for each label: download it again")
    numbers = np.frombuffer(labels, np.uint8)
    if not 1 <= numbers.min() <= numbers.max() <= classes:
        found = f"labels from {numbers.min()} to {numbers.max()}; wanted 1 to {classes}"
        raise DataError(f"{source.path}: {split}_y.bin holds {found}: download it again")
    pixels = np.frombuffer(images, np.uint8).reshape(-1, *SHAPE).swapaxes(2, 3)
    return np.ascontiguousarray(pixels), numbers.astype(np.int32) - 1


def _last(name: str) -> str:
    return name.rpartition("/")[2]


IMPORTER = Importer(
    title="STL-10's binary files",
    wanted="STL-10's binary version",
    recognizes=recognizes,
    read=read_stl,
)
