"""The split and the class of each image, by the names of its folders, or by its own name.

    train/cat/1.jpg  test/cat/2.jpg  val/cat/3.jpg    a folder for each split, in it one for each class
    cat/1.jpg  dog/2.jpg                              a folder for each class
    train/cat.1.jpg  train/dog.2.jpg                  the class in front of a number

Folders around these, which all images share, do not matter. The name of a split may be longer (Training, seg_test,
test1) and may be there twice (seg_train/seg_train/cat/1.jpg).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from distcnn.data.importers import pictures
from distcnn.data.names import PREDICTION, SPLIT_OF

WORDS = SPLIT_OF | PREDICTION
AROUND = (
    "images",
    "image",
    "imgs",
    "img",
    "pictures",
    "photos",
)  # a folder of this name, if alone, is no class
UNREAD = (
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".jp2",
    ".jfif",
    ".svg",
    ".psd",
    ".dng",
    ".cr2",
    ".nef",
    ".arw",
    ".dcm",
)
DEPTH = 4  # train/ may lie in up to DEPTH - 1 folders
NUMBERED = re.compile(r"(.*[^\W\d_])[\W_]*\d+\W*")  # the stem of cat.0.jpg, cat_0.jpg, cat (0).jpg

Folders = tuple[str, ...]


class Image(NamedTuple):
    """An image file.

    steps: of its name, from the folder of its class on
    name: the whole name
    split: that of its folder, or None
    """

    steps: tuple[str, ...]
    name: str
    split: str | None = None

    @property
    def folder(self) -> str | None:
        """The folder that may be that of its class, or None."""
        return self.steps[0] if len(self.steps) > 1 else None


def is_image(name: str) -> bool:
    """Return whether a name is that of an image file; hidden files, which some systems create, do not count."""
    return name.lower().endswith(pictures.ENDINGS) and not is_hidden(name)


def is_unread(name: str) -> bool:
    """Return whether a name is that of an image file of a kind that is not read."""
    return name.lower().endswith(UNREAD) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Return whether a name is that of a file which a system has put beside the others."""
    return any(step.startswith((".", "__MACOSX")) for step in name.split("/"))


def split_of(name: str) -> str | None:
    """Return the split that is in the name of a folder or file, such as seg_train; None if there is none, or two."""
    found = {WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in WORDS}
    return found.pop() if len(found) == 1 else None


def arranged(names: Sequence[str]) -> list[Image]:
    """Return all images, with their splits if there is a folder for the training split."""
    around = {tuple(name.split("/")[:-1]) for name in names}
    depth = 0
    while not (splits := _are_splits({folders[depth:] for folders in around})):
        if len({folders[: depth + 1] for folders in around}) > 1 or depth == DEPTH - 1:
            break
        if any(len(folders) <= depth for folders in around):
            break
        depth += 1
    images = [Image(tuple(name.split("/")[depth:]), name) for name in names]
    return _in_splits(images) if splits else images


def _are_splits(around: set[Folders]) -> bool:
    """Return whether the first of these folders are those of splits, rather than of classes."""
    heads = {folders[0] for folders in around if folders}
    splits = {head: split_of(head) for head in heads}
    if "train" not in splits.values():
        return False
    found = set(splits.values()) - {None}
    exact = any(head.lower() in WORDS and splits[head] == "train" for head in heads)
    if not (exact or len(found) > 1 or None not in splits.values()):
        return False  # a class such as "bullet train"
    direct = {folders[0] for folders in around if len(folders) == 1}  # those that hold images themselves
    is_class = {head for head in direct if splits[head] is None}
    return not (is_class and any(splits[head] == "train" for head in direct) and len(found) == 1)


def _in_splits(images: list[Image]) -> list[Image]:
    """Return images with the split that their first folder names, which is taken off their steps."""
    by_head = defaultdict(list)
    for image in images:
        by_head[image.folder or ""].append(image)
    found = []
    for head, inside in by_head.items():
        split, off = split_of(head), 1 + _is_around(head, inside)
        found += [
            image._replace(steps=image.steps[off:], split=split) if split else image for image in inside
        ]
    return found


def _is_around(head: str, images: list[Image]) -> bool:
    """Return whether all images in the folder of a split are in one more folder, which is that of no class."""
    folders = {image.steps[1] if len(image.steps) > 2 else "" for image in images}
    folder = folders.pop()
    return not folders and (folder == head or folder.lower() in AROUND)


def prefixes(images: Iterable[Image]) -> set[str]:
    """Return the classes in front of the numbers in the names of images; empty unless all have one of several."""
    found = {None if image.folder else _prefix(image) for image in images}
    return set() if None in found or len(found) < 2 else {prefix for prefix in found if prefix}


def prefixed(image: Image, classes: set[str]) -> Image:
    """Return an image with the class in front of the number in its name as its folder, if it is one of these."""
    prefix = _prefix(image)
    if image.folder or prefix is None or prefix not in classes:
        return image
    return image._replace(steps=(prefix, *image.steps))


def _prefix(image: Image) -> str | None:
    match = NUMBERED.fullmatch(image.steps[-1].rpartition(".")[0])
    return match[1] if match else None
