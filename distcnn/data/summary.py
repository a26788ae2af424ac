"""What was understood of a dataset's files, in one line."""

from __future__ import annotations

from collections.abc import Iterator

from distcnn.config.tasks import TASKS
from distcnn.data.description import Array, Description, ImageArray, SplitArrays
from distcnn.data.label_values import NUMBERS
from distcnn.data.references import short
from distcnn.system.counts import counted
from distcnn.system.terminal_text import printable


def understood(found: Description | None) -> Iterator[str]:
    """Yield a line on which arrays are used and how, if that had to be found out, and one on what is not used."""
    if found is not None and not is_plain(found):
        yield f"data: {line(found)}"
    if found is not None and found.notes:
        yield f"note: {'; '.join(map(printable, found.notes))}"


def is_plain(found: Description) -> bool:
    """Return whether a dataset has distcnn's own names, axes and types, so that there was nothing to find out."""
    pixels = {each.pixels for split in found.splits.values() for each in split.images}
    usual = found.coding is None or found.coding.kind == NUMBERS
    return not found.settings and usual and pixels <= {"uint8", "float32"}


def line(found: Description) -> str:
    """Return which arrays are used and how, in one line."""
    splits = "; ".join(f"{name} {_split(split, found.files)}" for name, split in found.splits.items())
    first = found.first
    become = "kept" if first.pixels == first.becomes else _conversion(first.pixels, first.becomes)
    return printable(f"{splits}; axes {first.axes}; pixels {first.pixels}, {become}{_labels(found)}")


def _split(split: SplitArrays, files: tuple[str, ...]) -> str:
    images = _arrays(split.images, files)
    return f"{images} with {_arrays(split.labels, files)}" if split.labels else f"{images} without labels"


def _arrays(arrays: tuple[Array, ...], files: tuple[str, ...]) -> str:
    """Return the names of arrays, the first two and how many more."""
    names = []
    for array in arrays[:2]:
        file = short(array.file, files) if array.file in files else array.file
        names.append(f"{file}:{array.path}" if file else array.path)
    more = f" and {len(arrays) - 2} more" if len(arrays) > 2 else ""
    first = arrays[0]
    whole = not isinstance(first, ImageArray) or len(first) == first.shape[first.axes.sample]
    rows = "" if whole or len(arrays) > 1 else f"[{first.start}:{first.stop}]"
    return ", ".join(names) + rows + more


def _conversion(pixels: str, becomes: str) -> str:
    return "False and True as 0 and 255" if pixels == "bool" else f"as {becomes}, not scaled"


def _labels(found: Description) -> str:
    coding = found.coding
    if coding is None:
        return ""
    number = "" if coding.classes is None else f", {counted(len(coding.classes), TASKS[coding.task].output)}"
    return f"; labels {coding.kind}{number}; task {coding.task}"
