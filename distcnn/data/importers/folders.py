"""Image files in a folder for each class, such as train/cat/1.jpg; only the names determine the order of samples."""

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

# The split of each folder, by its name.
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
TEST_INSTEAD = "val", "valid", "validation"  # folders that become the test split if there is no folder test
DEPTH = 4  # train/ may lie in up to DEPTH - 1 folders
WANTED = "wanted train/CLASS/IMAGE.jpg and optionally test/CLASS/IMAGE.jpg"

Image = tuple[tuple[str, ...], str]  # (steps of its name from the class on, its whole name)
Kinds = dict[tuple[int, int, bool], str]  # (height, width, is gray) to the name of the first such image


@dataclass(frozen=True)
class Places:
    """The position of every image in the arrays of the dataset."""

    rows: dict[str, tuple[str, int, int]]  # name to (split, row, label)
    counts: dict[str, int]  # images of each split
    classes: tuple[str, ...]


def recognizes(source: Source) -> bool:
    """Return whether a source holds image files."""
    return any(map(is_image, source.names))


def read_images(source: Source, options: Options) -> Samples:
    """Read and decode the images of a folder or an archive; its files are read twice.

    Without a size in the options, all images must have the same size. The result is gray if the options say so, or if
    all images are gray.

    Raises DataError, which names the file, if an image cannot be used.
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
    """Return whether a name is that of an image file; hidden files, which some systems create, do not count."""
    hidden = any(step.startswith((".", "__MACOSX")) for step in name.split("/"))
    return name.lower().endswith(pictures.ENDINGS) and not hidden


def places(names: list[str], source: str | Path) -> Places:
    """Return the position of every image, which depends only on the set of the names.

    names: the names of all images in the source, in any order.
    source: the path of the source, for messages.
    """
    by_split = _by_split(names, source)
    classes = sorted({steps[0] for steps, _ in by_split["train"]}, key=_natural)
    labels, rows = {name: k for k, name in enumerate(classes)}, {}
    for split, found in by_split.items():
        for row, (steps, name) in enumerate(sorted(found, key=lambda each: (_natural(each[0][0]), each))):
            if steps[0] not in labels:
                found_class = f"{name} is of class {steps[0]}, which train does not have"
                raise DataError(f"{source}: {found_class}; give both the same classes")
            if name in rows:
                raise DataError(f"{source} holds {name} twice: pack it again")
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
                raise DataError(f"{source}: {name} is not in the folder of a class; {WANTED}")
            by_split[splits[steps[0]]].append((tuple(steps[1:]), name))
    return by_split


def _depth(names: list[str]) -> int | None:
    """Return in how many folders train/ lies, which must be the same for all images; None if there is no train/."""
    around = {tuple(name.split("/")[:-1]) for name in names}
    for depth in range(DEPTH):
        if any(folders[depth] in ("train", "training") for folders in around if len(folders) > depth):
            return depth
        if len({folders[: depth + 1] for folders in around}) > 1:
            return None
    return None


def _splits(folders: set[str]) -> dict[str, str]:
    """Return {folder: split}; if there is no test folder, a validation folder becomes the test split."""
    found = {folder: SPLITS[folder] for folder in folders if folder in SPLITS}
    if "test" not in found.values():
        found |= {folder: "test" for folder in folders if folder in TEST_INSTEAD}
    return found


def _natural(name: str) -> tuple[int, int, str]:
    """Return the sort key of a class: numbers come first, by their value, then names."""
    return (0, int(name), name) if name.isdecimal() and name.isascii() and len(name) < 20 else (1, 0, name)


# ---- contents ----


def _kinds(source: Source, found: Places, options: Options) -> Kinds:
    """Return which kinds of images a source holds, from the headers of the files."""
    kinds: Kinds = {}
    contents = files(source.path, found.rows.__contains__)
    for name, content in options.progress(contents, "reading headers", len(found.rows)):
        kind = pictures.inspect(name, content)
        kinds[kind] = min(name, kinds.get(kind, name))
    return kinds


def _shape(kinds: Kinds, options: Options) -> tuple[int, int, int]:
    """Return the shape (c, h, w) that all images in the dataset will have."""
    gray = options.gray or all(is_gray for _, _, is_gray in kinds)
    return (1 if gray else 3, *(options.size or _common_size(kinds)))


def _common_size(kinds: Kinds) -> tuple[int, int]:
    """Return the size (h, w) of all images; raise DataError if they have different sizes."""
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
        problem = f"{next(iter(missing))} has disappeared during the import"
        raise DataError(f"{source.path}: {problem}: import it again")
    return arrays


IMPORTER = Importer(
    title="a folder of images for each class",
    wanted="train/CLASS/IMAGE.jpg",
    recognizes=recognizes,
    read=read_images,
    has_image_files=True,
)
