"""Decode many image files in several processes; the result does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from distcnn.data.importers.pictures import Format, Header, Picture, Unusable, decode, inspect
from distcnn.system.process_pool import SECONDS, Crashed, cores, in_processes
from distcnn.system.regular_files import TooLarge, read_regular

BATCH = 64  # files that a process gets at once
BATCH_BYTES = 2**24  # of files in an archive, which travel with the batch
IN_MANY = 512  # files from which on more than one process pays

Outcome = Picture | Header | Unusable


class Item(NamedTuple):
    """An image file that is to be decoded, or of which only the header is to be read.

    key: what the caller knows it by, such as its name or number
    content: its bytes, or the path of the file
    wanted: what it is to become, or None for its header
    limit: bytes that a file may have
    """

    key: Any
    content: bytes | str
    wanted: Format | None
    limit: int


def decode_all(
    items: Iterable[Item], count: int, processes: int | None = None
) -> Iterator[tuple[Any, Outcome]]:
    """Yield (key, outcome) for each item, in an undefined order.

    count: about how many items there are
    processes: how many to use; None for as many as there are cores, if that pays; 0 for none but this one
    """
    if processes == 0:
        yield from ((item.key, outcome(item)) for item in items)
        return
    most = cores() if count >= IN_MANY else 1
    for item, found in in_processes(outcome, _batches(iter(items)), processes or most):
        yield item.key, _crash(found) if isinstance(found, Crashed) else found


def outcome(item: Item) -> Outcome:
    """Return what is in a file; this is the function that the processes call."""
    try:
        content = item.content if isinstance(item.content, bytes) else _content(item.content, item.limit)
        return inspect(content) if item.wanted is None else decode(content, item.wanted)
    except Unusable as error:
        return error
    except MemoryError:
        return Unusable("needs more memory than there is", "make it smaller")


def _content(path: str, limit: int) -> bytes:
    """Return the content of a regular file."""
    try:
        return read_regular(path, limit)
    except OSError as error:
        raise Unusable(f"cannot be read ({error.strerror})", "take it out") from None
    except TooLarge as error:
        raise Unusable(f"is {error}; wanted an image", "take it out") from None


def _crash(found: Crashed) -> Unusable:
    if found.signal in ("SIGXCPU", "SIGKILL"):
        return Unusable(f"takes more than {SECONDS} s to decode, the limit", "remove it", is_damage=True)
    return Unusable(f"crashes the decoder ({found.signal})", "remove it", is_damage=True)


def _batches(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Yield items in lists of some; a list whose files have many bytes ends early."""
    while batch := list(islice(items, 1)):
        size = _size(batch[0])
        while len(batch) < BATCH and size < BATCH_BYTES and (item := next(items, None)) is not None:
            batch.append(item)
            size += _size(item)
        yield batch


def _size(item: Item) -> int:
    return len(item.content) if isinstance(item.content, bytes) else 0
