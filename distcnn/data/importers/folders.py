"""Folders of classes with images, train/cat/1.jpg: the order of samples and classes is a function of the names."""

from dataclasses import dataclass
from math import prod

import numpy as np

from distcnn.data.importers import pictures
from distcnn.data.importers.archive import files
from distcnn.data.importers.writer import Samples
from distcnn.data.schema import MEMORY_LIMIT
from distcnn.errors import DataError

PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
INSTEAD = "val", "valid", "validation"  # of a test part, if there is none
DEPTH = 4  # folders around train/ at most
WANTED = "wanted train/CLASS/IMAGE.jpg, and, if there are any, test/CLASS/IMAGE.jpg beside it"


@dataclass(frozen=True)
class Places:
    """Where every image goes: rows: name to (part, row, label); counts: images of each part."""

    rows: dict[str, tuple[str, int, int]]
    counts: dict[str, int]
    classes: tuple[str, ...]


def is_image(name: str) -> bool:
    """Tell whether a name is that of an image; hidden files, which some systems strew about, are none."""
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
    return name.lower().endswith(pictures.ENDINGS) and not hidden


def places(names: list[str], source: str) -> Places:
    """Return where every image goes, by the names alone, in whatever order they come."""
    depth = _depth(names)
    if depth is None:
        raise DataError(f"{source} has no folder train with images in it; {WANTED}")
    parts = _parts({name.split("/")[depth] for name in names if name.count("/") > depth})
    by_part = {"train": [], "test": []}
    for name in names:
        steps = name.split("/")[depth:]
        if steps[0] in parts:
            if len(steps) < 3:
                raise DataError(f"{source}: {name} lies in no class; {WANTED}")
            by_part[parts[steps[0]]].append((tuple(steps[1:]), name))
    classes = sorted({steps[0] for steps, _ in by_part["train"]}, key=_natural)
    number, rows = {name: k for k, name in enumerate(classes)}, {}
    for part, found in by_part.items():
        for row, (steps, name) in enumerate(sorted(found, key=lambda each: (_natural(each[0][0]), each))):
            if steps[0] not in number:
                raise DataError(
                    f"{source}: {name} is of class {steps[0]}, which train has not; name them alike"
                )
            if name in rows:
                raise DataError(f"{source} holds {name} twice: pack it anew")
            rows[name] = part, row, number[steps[0]]
    counts = {part: len(found) for part, found in by_part.items() if found}
    return Places(rows, counts, tuple(classes))


def _depth(names):
    """Return how many folders are around train/, the same for all images, or None if there is no such folder."""
    around = {tuple(name.split("/")[:-1]) for name in names}
    for depth in range(DEPTH):
        if any(folders[depth] in ("train", "training") for folders in around if len(folders) > depth):
            return depth
        if len({folders[: depth + 1] for folders in around}) > 1:
            return None
    return None


def _parts(folders):
    """Return the part that each folder's images belong to: a validation folder is for testing if no other is."""
    found = {folder: PARTS[folder] for folder in folders if folder in PARTS}
    if "test" not in found.values():
        found |= {folder: "test" for folder in folders if folder in INSTEAD}
    return found


def _natural(name):
    """Return what classes are sorted by: numbers by their value, then names."""
    return (0, int(name), name) if name.isdecimal() and name.isascii() and len(name) < 20 else (1, 0, name)


def silent(things, words, total=None):
    """Go through things; others show how far that is, of a total, under these words."""
    return things


def samples(source: str, names: list[str], size=None, grey=False, progress=silent) -> Samples:
    """Return the images of a folder or archive, which is gone through twice, decoded.

    names: of all images in it; size: (h, w) to resize to, otherwise all must have the same; grey: one channel,
    whatever there is, otherwise one only if all images are grey. Raises DataError for what is not as wanted, naming the
    file.
    """
    found, seen = places(names, source), {}
    for name, content in progress(
        files(source, found.rows.__contains__), "looking at images", len(found.rows)
    ):
        look = pictures.looked_at(name, content)
        seen[look] = min(name, seen.get(look, name))  # of each kind, the first
    shape = (1 if grey or all(is_grey for _, _, is_grey in seen) else 3, *(size or _one_size(seen)))
    total = sum(found.counts.values()) * prod(shape)
    if total > MEMORY_LIMIT:
        what = f"{sum(found.counts.values()):,} images of {' x '.join(map(str, shape))}"
        raise DataError(
            f"{source}: {what} take {total / 2**30:.1f} GiB; at most 4 GiB: ask for a smaller --size HxW"
        )
    arrays = {
        part: (np.zeros((count, *shape), np.uint8), np.zeros(count, np.int32))
        for part, count in found.counts.items()
    }
    left = dict(found.rows)
    for name, content in progress(files(source, left.__contains__), "decoding images", len(left)):
        part, row, label = left.pop(name)
        images, labels = arrays[part]
        images[row], labels[row] = pictures.decoded(name, content, shape[0], shape[1:]), label
    if left:
        raise DataError(f"{source}: {next(iter(left))} has vanished meanwhile: import it again")
    return Samples(arrays, found.classes, {"decoder": pictures.decoder()})


def _one_size(seen):
    """Return the size that all images have."""
    sizes = {}
    for (height, width, _), name in sorted(seen.items(), key=lambda item: item[1]):
        sizes.setdefault((height, width), name)
    if len(sizes) > 1:
        few = [f"{name} has {height} x {width} pixels" for (height, width), name in list(sizes.items())[:2]]
        more = f", and there are {len(sizes)} sizes" * (len(sizes) > 2)
        raise DataError(f"{', '.join(few)}{more}; wanted one size: resize all with --size HxW")
    return next(iter(sizes))
