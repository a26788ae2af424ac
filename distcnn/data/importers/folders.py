"""Folders of classes with images, train/cat/1.jpg: the order of samples and classes is a function of the names."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from distcnn.data.importers import pictures
from distcnn.data.importers.archive import files
from distcnn.data.importers.importer import Importer, Options, Source
from distcnn.data.importers.writer import Samples
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}  # by the folder's name
TEST_INSTEAD = "val", "valid", "validation"  # folders that become the test split where there is no other
DEPTH = 4  # folders around train/ at most
WANTED = "wanted train/CLASS/IMAGE.jpg, and, if there are any, test/CLASS/IMAGE.jpg beside it"

Image = tuple[tuple[str, ...], str]  # steps of its name from the class on, and its whole name
Kinds = dict[tuple[int, int, bool], str]  # (height, width, is gray) to the name of the first such image


@dataclass(frozen=True)
class Places:
    """Where in the arrays every image goes."""

    rows: dict[str, tuple[str, int, int]]  # name to (split, row, label)
    counts: dict[str, int]  # images of each split
    classes: tuple[str, ...]


def recognizes(source: Source) -> bool:
    """Return whether there are image files."""
    return any(map(is_image, source.names))


def read_images(source: Source, options: Options) -> Samples:
    """Return the images of a folder or archive, decoded; its files are read twice.

    Without a size in the options, all images must have the same; they are gray if that is an option, or if all are.
    Raises DataError, which names the file, for what is not as wanted.
    """
    found = places(list(filter(is_image, source.names)), source.path)
    shape = _shape(_kinds(source, found, options), options)
    total = sum(found.counts.values())
    if total * prod(shape) > MEMORY_LIMIT:
        size = f"{total * prod(shape) / 2**30:.1f} GiB; at most 4 GiB"
        what = f"{total:,} images of {' x '.join(map(str, shape))}"
        raise DataError(f"{source.path}: {what} take {size}: ask for a smaller --size HxW")
    return Samples(_decoded(source, found, shape, options), found.classes, {"decoder": pictures.decoder()})


# ---- names ----


def is_image(name: str) -> bool:
    """Return whether a name is that of an image; hidden files, as some systems make them, are none."""
    hidden = any(step.startswith((".", "__MACOSX")) for step in name.split("/"))
    return name.lower().endswith(pictures.ENDINGS) and not hidden


def places(names: list[str], source: str | Path) -> Places:
    """Return where every image goes, by the names alone, in whatever order they come.

    names: of all images in the source
    source: its path, for messages
    """
    by_split = _by_split(names, source)
    classes = sorted({steps[0] for steps, _ in by_split["train"]}, key=_natural)
    labels, rows = {name: k for k, name in enumerate(classes)}, {}
    for split, found in by_split.items():
        for row, (steps, name) in enumerate(sorted(found, key=lambda each: (_natural(each[0][0]), each))):
            if steps[0] not in labels:
                found_class = f"{name} is of class {steps[0]}, which train has not"
                raise DataError(f"{source}: {found_class}; give both the same classes")
            if name in rows:
                raise DataError(f"{source} holds {name} twice: pack it anew")
            rows[name] = split, row, labels[steps[0]]
    counts = {split: len(found) for split, found in by_split.items() if found}
    return Places(rows, counts, tuple(classes))


def _by_split(names: list[str], source: str | Path) -> dict[str, list[Image]]:
    """Return the images of each split."""
    depth = _depth(names)
    if depth is None:
        raise DataError(f"{source} has no folder train with images in it; {WANTED}")
    splits = _splits({name.split("/")[depth] for name in names if name.count("/") > depth})
    by_split: dict[str, list[Image]] = {"train": [], "test": []}
    for name in names:
        steps = name.split("/")[depth:]
        if steps[0] in splits:
            if len(steps) < 3:
                raise DataError(f"{source}: {name} lies in no class; {WANTED}")
            by_split[splits[steps[0]]].append((tuple(steps[1:]), name))
    return by_split


def _depth(names: list[str]) -> int | None:
    """Return how many folders are around train/, the same for all images, or None if there is no such folder."""
    around = {tuple(name.split("/")[:-1]) for name in names}
    for depth in range(DEPTH):
        if any(folders[depth] in ("train", "training") for folders in around if len(folders) > depth):
            return depth
        if len({folders[: depth + 1] for folders in around}) > 1:
            return None
    return None


def _splits(folders: set[str]) -> dict[str, str]:
    """Return the split of each folder's images: a validation folder is for testing if no other is."""
    found = {folder: SPLITS[folder] for folder in folders if folder in SPLITS}
    if "test" not in found.values():
        found |= {folder: "test" for folder in folders if folder in TEST_INSTEAD}
    return found


def _natural(name: str) -> tuple[int, int, str]:
    """Return the key that sorts classes: numbers by their value, then names."""
    return (0, int(name), name) if name.isdecimal() and name.isascii() and len(name) < 20 else (1, 0, name)


# ---- contents ----


def _kinds(source: Source, found: Places, options: Options) -> Kinds:
    """Return the kinds of images that there are, by their headers."""
    kinds: Kinds = {}
    contents = files(source.path, found.rows.__contains__)
    for name, content in options.progress(contents, "reading headers", len(found.rows)):
        kind = pictures.inspect(name, content)
        kinds[kind] = min(name, kinds.get(kind, name))
    return kinds


def _shape(kinds: Kinds, options: Options) -> tuple[int, int, int]:
    """Return the shape (c, h, w) of all images in the dataset."""
    gray = options.gray or all(is_gray for _, _, is_gray in kinds)
    return (1 if gray else 3, *(options.size or _common_size(kinds)))


def _common_size(kinds: Kinds) -> tuple[int, int]:
    """Return the (h, w) that all images have; DataError if there are several."""
    sizes: dict[tuple[int, int], str] = {}
    for (height, width, _), name in sorted(kinds.items(), key=lambda item: item[1]):
        sizes.setdefault((height, width), name)
    if len(sizes) > 1:
        few = [f"{name} has {height} x {width} pixels" for (height, width), name in list(sizes.items())[:2]]
        more = f", and there are {len(sizes)} sizes" * (len(sizes) > 2)
        raise DataError(f"{', '.join(few)}{more}; wanted one size: resize all with --size HxW")
    return next(iter(sizes))


def _decoded(
    source: Source, found: Places, shape: tuple[int, int, int], options: Options
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return images uint8 [n, c, h, w] and labels int32 [n] of each split; shape: (c, h, w)."""
    arrays = {
        split: (np.zeros((count, *shape), np.uint8), np.zeros(count, np.int32))
        for split, count in found.counts.items()
    }
    missing = dict(found.rows)
    contents = files(source.path, missing.__contains__)
    for name, content in options.progress(contents, "decoding images", len(missing)):
        split, row, label = missing.pop(name)
        images, labels = arrays[split]
        images[row], labels[row] = pictures.decode(name, content, shape[0], shape[1:]), label
    if missing:
        raise DataError(f"{source.path}: {next(iter(missing))} has vanished meanwhile: import it again")
    return arrays


IMPORTER = Importer(
    title="a folder of images for each class",
    wanted="train/CLASS/IMAGE.jpg",
    recognizes=recognizes,
    read=read_images,
    has_image_files=True,
)
