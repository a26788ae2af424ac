"""What a dataset's file must hold, and everything that can be wrong with it, each in a line with its remedy.

    /train/images   uint8 or float32 [n, c, h, w] or [n, h, w]
    /train/labels   integers [n]
    /test           the same, may be missing
    classes         attribute of the file, may be missing: the classes' names
    seal            attribute of /train, may be missing: proves samples and classes, see `seal`

Only types and shapes are looked at here, so that a wrong file costs milliseconds, whatever its size. The
checks yield what they find instead of raising it: training stops at the first problem, `info` shows them all.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import h5py
import numpy as np

from distcnn.data.classes import class_names
from distcnn.errors import DataError

MADE_ANEW = "copy the file again, or, if it was changed on purpose, remove that attribute"
PARTS = ("train", "test")
CHUNK_LIMIT = 2**26  # bytes, decoded
MEMORY_LIMIT = 4 * 2**30  # bytes, decoded


@dataclass(frozen=True)
class Layout:
    """Types and shapes of a file's arrays as they will lie in memory, and the classes' names, if any."""

    images: dict[str, tuple[int, int, int, int]]  # by part: (n, c, h, w)
    dtype: str  # of the images: "uint8" or "float32"
    classes: tuple[str, ...] | None
    seal: str | None = None


def layout_of(file: h5py.File) -> Layout:
    """Return a file's layout; raise DataError with the first problem, if there is one."""
    for problem in problems(file):
        raise DataError(f"{file.filename}: {' '.join(problem.split())}")  # a name in it may have line breaks
    shapes = {part: with_channels(file[part]["images"].shape) for part in PARTS if part in file}
    return Layout(shapes, type_of(file["train/images"]), class_names(file), sealed(file))


def with_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of images as (n, c, h, w), where (n, h, w) has one channel."""
    return (shape[0], 1, *shape[1:]) if len(shape) == 3 else shape


def problems(file: h5py.File) -> Iterator[str]:
    """Yield what is wrong with a file's types and shapes."""
    found = {}
    for name in names(file):
        try:
            found[name] = find(file, name)
            yield from dataset_problems(name, found[name])
        except DataError as error:
            yield str(error)
    yield from agreement_problems(found)
    for read in (class_names, sealed):
        try:
            read(file)
        except DataError as error:
            yield str(error)


def names(file: h5py.File) -> list[str]:
    """Return the names of the datasets that the file must hold: those of /test only if it has such a part."""
    parts = [part for part in PARTS if part == "train" or part in list(file)]  # `in file` misses broken links
    return [f"/{part}/{kind}" for part in parts for kind in ("images", "labels")]


def find(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset of that name, if this file holds it and it can be read; raise DataError if not."""
    found = file
    for step in name.strip("/").split("/"):
        if not isinstance(found, h5py.Group):
            raise DataError(f"{found.name} is no group; wanted a group that holds images and labels")
        link = found.get(step, getlink=True)
        if link is None:
            members = ", ".join(map(str, list(found)[:8])) or "nothing"  # str: of bytes where it is not UTF-8
            raise DataError(f"{name} is missing: {found.name} holds {members}")
        found = None if isinstance(link, h5py.ExternalLink) else found.get(step)
        if found is None or found.file.filename != file.filename:
            raise DataError(f"{name} is a link to another file or to nothing: store the data in its place")
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{name} is a group; wanted a dataset")
    if found.is_virtual or found.external:
        raise DataError(f"{name} takes its data from other files: store a copy of it here, images[:] in h5py")
    _check_stored(name, found)
    return found


def _check_stored(name: str, dataset: h5py.Dataset) -> None:
    storage = dataset.id.get_create_plist()
    for code, _, _, title in map(storage.get_filter, range(storage.get_nfilters())):
        if not h5py.h5z.filter_avail(code):
            title = title.decode(errors="replace") or f"number {code}"
            raise DataError(
                f"{name} is packed by filter {title}, missing here: repack with h5repack -f GZIP=4"
            )
    stored = dataset.id.get_storage_size()
    if dataset.size and not stored:
        raise DataError(f"{name} was created but never written: make the file anew")
    if not dataset.chunks:
        whole = stored >= dataset.nbytes
    elif prod(dataset.chunks) * dataset.dtype.itemsize > max(CHUNK_LIMIT, dataset.nbytes):
        raise DataError(
            f"{name} has chunks of {dataset.chunks}, more than it holds: repack with h5repack -f GZIP=4"
        )
    else:
        wanted = prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        whole = dataset.id.get_num_chunks() == wanted
    if not whole:
        raise DataError(f"{name} was never written to its end, or is damaged: make the file anew")


def dataset_problems(name: str, dataset: h5py.Dataset) -> Iterator[str]:
    """Yield what is wrong with the type and shape of images or labels by themselves."""
    return image_problems(name, dataset) if name.endswith("images") else label_problems(name, dataset)


def image_problems(name: str, images: h5py.Dataset) -> Iterator[str]:
    """Yield what is wrong with the type and shape of images."""
    dtype, shape = type_of(images), images.shape
    if dtype not in ("uint8", "float32"):
        yield f"{name} holds {dtype}; wanted uint8 or float32: {_pixel_remedy(dtype)}"
    if shape is None or len(shape) not in (3, 4):
        yield f"{name} has shape {shape}; wanted (n, c, h, w) or (n, h, w): reshape the images"
    elif shape[0] == 0:
        yield f"{name} holds no images: {'add some' if 'train' in name else 'leave the group /test out'}"
    elif 0 in shape:
        yield f"{name} has shape {shape}, images without a pixel; wanted (n, c, h, w): make the file anew"
    elif len(shape) == 4 and shape[3] <= 4 < min(shape[1:3]):
        yield (
            f"{name} has shape {shape}, which looks like channels last; wanted (n, c, h, w): "
            "transpose it with images.transpose(0, 3, 1, 2)"
        )


def type_of(dataset: h5py.Dataset) -> str:
    """Return the name of a dataset's type, its byte order aside; "objects" if NumPy has no such numbers."""
    try:
        return dataset.dtype.name if dataset.dtype.kind in "uifb" else "objects"
    except TypeError:
        return "objects"


def _pixel_remedy(dtype: str) -> str:
    if dtype == "bool":
        return "convert them with images.astype('uint8')"
    if dtype.startswith("float"):
        return "convert them with images.astype('float32')"
    if dtype == "objects":
        return "decode the images into an array of numbers"
    return f"scale them, for example with (images / {np.iinfo(dtype).max}).astype('float32')"


def label_problems(name: str, labels: h5py.Dataset) -> Iterator[str]:
    """Yield what is wrong with the type and shape of labels."""
    dtype, shape = type_of(labels), labels.shape
    if dtype == "objects":
        yield f"{name} holds no numbers; wanted integers: store numbers, and names in the attribute classes"
    elif "int" not in dtype:
        yield f"{name} holds {dtype}; wanted integers: convert them with labels.astype('int32')"
    if shape is not None and len(shape) == 2 and shape[1] > 1:
        yield f"{name} has shape {shape}, which looks one-hot; wanted (n,): labels.argmax(axis=1)"
    elif shape is None or len(shape) != 1:
        yield f"{name} has shape {shape}; wanted (n,): labels.reshape(-1)"


def agreement_problems(found: dict[str, h5py.Dataset]) -> Iterator[str]:
    """Yield what does not fit together among datasets, each right by itself, or does not fit into memory."""
    shapes = {name: dataset.shape for name, dataset in found.items() if dataset.shape}
    for part in PARTS:
        images, labels = (shapes.get(f"/{part}/{kind}", [None])[0] for kind in ("images", "labels"))
        if None not in (images, labels) and images != labels:
            yield f"/{part} holds {images} images and {labels} labels; wanted as many: make it anew"
    if {"/train/images", "/test/images"} <= found.keys():
        train, test = ((type_of(found[f"/{part}/images"]), found[f"/{part}/images"].shape) for part in PARTS)
        if train[1] and test[1] and (train[0], train[1][1:]) != (test[0], test[1][1:]):
            yield f"/train/images are {_kind(train)}, /test/images {_kind(test)}: store both alike"
    size = sum(dataset.nbytes for dataset in found.values() if type_of(dataset) != "objects")
    if size > MEMORY_LIMIT:
        limit = f"{MEMORY_LIMIT / 2**30:.0f} GiB"
        yield f"{size / 2**30:.1f} GiB of samples; at most {limit}: streaming larger files is not there yet"


def seal(fingerprint: str, classes: tuple[str, ...] | None) -> str:
    """Return what proves samples and classes: a SHA-256, in hex, over the fingerprint and the names."""
    return hashlib.sha256("\0".join([fingerprint, *(classes or ())]).encode()).hexdigest()


def sealed(file: h5py.File) -> str | None:
    """Return the seal that a file bears, or None. It is at /train, not beside the classes that it proves."""
    found = file["train"].attrs.get("seal") if "train" in file else None
    if found is not None and not isinstance(found, str):
        raise DataError(f"the attribute seal of /train is damaged: {MADE_ANEW}")
    return found


def _kind(part: tuple[str, tuple[int, ...]]) -> str:
    return f"{part[0]} {' x '.join(map(str, part[1][1:]))}"
