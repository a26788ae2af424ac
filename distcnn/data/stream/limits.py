"""The memory that the windows of a rank need, and what to do if that is too much."""

from __future__ import annotations

from pathlib import Path

from distcnn.data.stream.images import StreamedImages
from distcnn.data.stream.order import LEAST
from distcnn.errors import DataError
from distcnn.lanes import LANES

WINDOWS = 2  # of each position that are in memory
LIMIT = 2**30  # bytes of all windows of a rank


def require_memory(images: StreamedImages, share: int, positions: int, units: int) -> None:
    """Raise DataError, with a remedy, if the windows of a rank need more memory than LIMIT.

    share: the block positions of this rank.
    positions: those of a batch.
    units: of a window.
    """
    row = images.image_bytes
    unit = row * images.units.largest
    total = share * WINDOWS * units * unit
    if total > LIMIT:
        needed = f"{WINDOWS} windows of {units} units of {unit / 2**20:.1f} MiB for each of {share} blocks"
        path = images.source.parts[0].path
        remedy = _remedy(path, share, positions, unit, row)
        raise DataError(f"{path}: streaming needs {needed}, {total / 2**30:.1f} GiB on a rank: {remedy}")


def _remedy(path: Path, share: int, positions: int, unit: int, row: int) -> str:
    """Return how to come below the limit.

    path: of the first file.
    share, positions: as of `require_memory`.
    unit: bytes of the largest unit.
    row: bytes of an image.
    """
    most = LIMIT // (WINDOWS * LEAST * unit)  # blocks of a rank, with the smallest windows
    if share <= most:
        return f"use --window {positions * unit * (LIMIT // (WINDOWS * share * unit))} or less"
    if most:
        ranks = f"start at least {-(-positions // most)} ranks"
        return f"{ranks}, or use --batch-size {LANES * most} or less"
    rows = LIMIT // (WINDOWS * LEAST * row)
    if rows:
        by_hand = f"store the images in chunks of at most {rows}, with chunks=({rows}, ...) of h5py's create_dataset"
        return f"{by_hand}, or with python -m distcnn.data pack {path} OUT.h5"
    return "use --data-mode memory, or smaller images"
