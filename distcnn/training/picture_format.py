"""What image files must become for a trained net: the size and channels of its images, and the type of their pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distcnn.data.importers.pictures import Format
from distcnn.data.picture_record import read_text
from distcnn.errors import DataError
from distcnn.run.state import State

BRIGHT = 1.5  # the mean of a channel from which on its values cannot be 0 to 1


def picture_format(state: State, where: str | Path, note: Callable[[str], None]) -> tuple[Format, bool]:
    """Return the format in which image files fit a trained net, and whether its images had one size before the import.

    where: the name of the state in messages
    note: is called with a line on what had to be assumed, if the state does not hold how its images were made

    Raises DataError if image files cannot become such images.
    """
    channels, height, width = state.input_shape
    if channels not in (1, 3):
        found = f"{where} was trained on images of {channels} channels, and image files have 1 or 3"
        raise DataError(f"{found}: store yours in an HDF5 file")
    record = read_text(state.pictures)
    if record is None:
        pixels = _assumed_pixels(state, where)
        become = (
            f"are stretched to {height} x {width}, {'bytes' if pixels == 'uint8' else 'float32 from 0 to 1'}"
        )
        note(f"{where} does not hold how its images were made: image files {become}")
        return Format((height, width), "stretch", channels, pixels), False
    pixels = "uint8" if state.dtype == "uint8" else "float"
    has_own_range = record.depth == "float" and record.pixels is None
    fit = record.fit or "stretch"
    return Format((height, width), fit, channels, None if has_own_range else pixels), record.fit is None


def _assumed_pixels(state: State, where: str | Path) -> str:
    """Return the type of pixels for a state that does not hold how its images were made."""
    if state.dtype in ("", "uint8"):
        return "uint8"
    if state.mean.max() > BRIGHT or state.mean.min() < 0:
        found = f"{where} was trained on float32 images whose values are not 0 to 1"
        raise DataError(
            f"{found}, and does not hold how they were made: store yours likewise in an HDF5 file"
        )
    return "float"
