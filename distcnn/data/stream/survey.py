"""One pass over all images of a streamed split: a SHA-256 and the moments of each unit, and a check of every pixel.

The ranks share the pass, and its result is kept for the next run.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from distcnn.data.statistics import from_moments, moments
from distcnn.data.stream import notes
from distcnn.data.stream.images import AHEAD, StreamedImages
from distcnn.data.stream.units import Units
from distcnn.parallel.collective import on_all, on_root
from distcnn.parallel.comm import Comm
from distcnn.parallel.partition import block_range

DIGEST = hashlib.sha256().digest_size


class Survey(NamedTuple):
    """What a pass has found, for each unit of a split.

    digests: the SHA-256 of the images, decoded and little-endian, uint8 [units, 32].
    moments: of the images, see `distcnn.data.statistics`, int64 or float64 [units, 2, c].
    """

    digests: np.ndarray
    moments: np.ndarray


def survey(images: StreamedImages, comm: Comm) -> Survey | None:
    """Return on rank 0 the Survey of all images of a source, from a note or by a pass; None on other ranks. Collective.

    Raises DataError on all ranks if a file is damaged or a pixel is not finite.
    """
    parts, units = images.source.parts, images.units
    names = [(part.name, part.start, part.stop, part.convert) for part in parts]
    about = names, images.shape, images.dtype.name, hashlib.sha256(units.size.tobytes()).hexdigest()
    key = on_root(comm, lambda: notes.key_of([part.path for part in parts], *about))
    kept = _unpacked(notes.read(key), images) if comm.rank == 0 else None
    if comm.bcast(kept is not None):
        return kept
    share = block_range(len(units.size), comm.rank, comm.size)
    pieces = comm.gather(tuple(on_all(comm, _survey_of, images, share)))
    if pieces is None:
        return None
    found = Survey(*(np.concatenate(each) for each in zip(*pieces, strict=True)))
    notes.write(key, found.digests.tobytes() + found.moments.tobytes())
    return found


def statistics(found: Survey, images: StreamedImages, training: Units) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation of each channel of the training split, float64 [c] each.

    found: the survey of all images.
    images: all images, of which units and parts of units are for validation.
    training: the units of the training split.
    """
    index = np.searchsorted(images.units.start, training.start, "right") - 1
    chosen = found.moments[index]
    for place in np.flatnonzero(training.size != images.units.size[index]):
        chosen[place] = _moments_of(images, Units(*(each[place : place + 1] for each in training)))
    pixels = images.shape[2] * images.shape[3]
    if chosen.dtype == np.int64:
        return from_moments(chosen.sum(axis=0), training.rows * pixels)
    return from_moments(_combined(chosen, training.size * float(pixels)), training.rows * pixels)


def _survey_of(images: StreamedImages, share: range) -> Survey:
    """Return the survey of some units; raise DataError if a pixel is not finite."""
    kind = np.int64 if images.dtype == np.uint8 else np.float64
    found = Survey(np.zeros((len(share), DIGEST), np.uint8), np.zeros((len(share), 2, images.shape[1]), kind))
    buffer = np.empty((images.units.largest, *images.shape[1:]), images.dtype)
    for place, unit in enumerate(share):
        size = int(images.units.size[unit])
        images.advise(unit + AHEAD)
        images.read_unit(unit, 0, size, buffer[:size])
        images.source.check(int(images.units.start[unit]), buffer[:size])
        stored = np.ascontiguousarray(buffer[:size], images.dtype.newbyteorder("<"))
        found.digests[place] = np.frombuffer(hashlib.sha256(stored.data).digest(), np.uint8)
        found.moments[place] = moments(buffer[:size])
    return found


def _moments_of(images: StreamedImages, rows: Units) -> np.ndarray:
    """Return the moments of one unit, or of a part of one."""
    some = StreamedImages(images.source, rows)
    buffer = np.empty(some.shape, some.dtype)
    some.read_unit(0, 0, len(some), buffer)
    return moments(buffer)


def _combined(each: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the moments of all float images together (Chan, Golub and LeVeque 1983), in a fixed order.

    each: moments of units, float64 [units, 2, c].
    n: the numbers of pixels of a channel in each, float64 [units].
    """
    mean, squares, n = each[:, 0], each[:, 1], n[:, None]
    while len(n) > 1:
        half = len(n) // 2
        left, right = slice(0, half), slice(len(n) - half, len(n))
        total, difference = n[left] + n[right], mean[right] - mean[left]
        joined_mean = mean[left] + difference * n[right] / total
        joined = squares[left] + squares[right] + difference * difference * n[left] * n[right] / total
        middle = slice(half, len(n) - half)
        mean, squares = np.concatenate([joined_mean, mean[middle]]), np.concatenate([joined, squares[middle]])
        n = np.concatenate([total, n[middle]])
    return np.stack([mean[0], squares[0]])


def _unpacked(note: bytes | None, images: StreamedImages) -> Survey | None:
    """Return the survey in a note, or None if there is none of these images."""
    units, channels = len(images.units.size), images.shape[1]
    if note is None or len(note) != units * (DIGEST + 2 * channels * 8):
        return None
    digests = np.frombuffer(note, np.uint8, units * DIGEST).reshape(units, DIGEST)
    kind = np.int64 if images.dtype == np.uint8 else np.float64
    return Survey(
        digests, np.frombuffer(note, kind, offset=units * DIGEST).reshape(units, 2, channels).copy()
    )
