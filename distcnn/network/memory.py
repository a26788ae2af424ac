"""Whether a net fits into memory: checked before anything is allocated, from what its arrays take at least."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from distcnn.errors import NetError
from distcnn.lanes import LANES
from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape
from distcnn.layers.values import NO_BORDER

NUMBER, SUM = 4, 8  # bytes of a float32 and of an exact sum
GROUPS, CGROUPS, MEMINFO = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"), Path("/proc/meminfo")


def of_net(parameter_counts: Sequence[int], shapes: Sequence[Shape]) -> list[int]:
    """Return the bytes, by layer, that any use of a net takes: its parameters and their sums, the largest output.

    parameter_counts: how many parameters and statistics each layer has.
    shapes: those between the layers, that of the input first.
    """
    outputs = [NUMBER * LANES * math.prod(shape) for shape in shapes[1:]]
    largest = max(outputs, default=0)
    sizes = [(NUMBER + SUM) * count for count in parameter_counts]
    if largest:
        sizes[outputs.index(largest)] += largest
    return sizes


def of_training(
    layers: Sequence[Layer],
    parameter_counts: Sequence[int],
    shapes: Sequence[Shape],
    workers: int = 1,
    slots: int = 1,
    blocks: int = 1,
) -> list[int]:
    """Return the bytes, by layer, that training takes: parameters, their sums, outputs and gradients of some blocks.

    layers: of the net.
    parameter_counts, shapes: as in `of_net`.
    workers: threads, each with exact sums and so many blocks of its own.
    slots: numbers that the optimizer has for each parameter, such as a velocity.
    blocks: how many blocks a worker has in memory together.
    """
    needs = []
    for layer, count, shape in zip(layers, parameter_counts, shapes[1:], strict=True):
        shares = layer.memory.y_is_x or layer.memory.dx_is_dy or layer.is_view(NO_BORDER)
        block = 0 if shares else 2 * NUMBER * LANES * math.prod(shape)
        needs.append(NUMBER * (1 + slots) * count + workers * (SUM * count + blocks * block))
    return needs


def require(layers: Sequence[Layer], needs: Sequence[int], times: int = 1, blocks: int = 1) -> None:
    """Raise NetError, naming the layer that takes most, unless there is enough memory.

    layers: of the net.
    needs: bytes, by layer.
    times: how many ranks take that much.
    blocks: how many blocks are in memory together because batch norms share their statistics.
    """
    needed, there = times * sum(needs), available()
    if needed > there:
        k = max(range(len(needs)), key=needs.__getitem__)
        ranks = f" for {times} ranks" if times > 1 else ""
        group = "a smaller norm group, " if blocks > 1 else ""
        raise NetError(
            f"layer {k}: {layers[k]} takes {_size(times * needs[k])} of memory{ranks}, the whole net {_size(needed)}, "
            f"but only {_size(there)} are free: use smaller images, a smaller net, {group}or fewer ranks and threads"
        )


def available() -> int:
    """Return the bytes that this process may still take: what is free, and at most what its control group may."""
    return min([_free(), *_limits()])


def _free() -> int:
    """Return the bytes that programs can have without swapping, as Linux estimates them; elsewhere none is known."""
    with suppress(OSError, ValueError, IndexError):
        return int(MEMINFO.read_text().split("MemAvailable:")[1].split()[0]) * 1024
    return sys.maxsize


def _limits() -> Iterator[int]:
    """Yield the limits of the control groups that this process is in, as of a container or a batch job."""
    with suppress(OSError, ValueError):
        for line in GROUPS.read_text().splitlines():
            _, kind, path = line.split(":", 2)
            if kind in ("", "memory"):
                root, name = (CGROUPS / kind, "memory.limit_in_bytes" if kind else "memory.max")
                group = root / path.lstrip("/")
                for folder in [group, *group.parents]:
                    with suppress(OSError, ValueError):  # ValueError: "max"
                        yield int((folder / name).read_text())


def _size(count: float) -> str:
    """Return bytes as a person reads them."""
    count /= 2**20
    for unit in ("MiB", "GiB"):
        if count < 1000:
            return f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
