"""Check whether a net fits into memory, before anything is allocated, from the sizes of its largest arrays."""

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
    """Return the bytes, by layer, that every use of a net needs: for parameters, their sums and the largest output.

    parameter_counts: how many numbers the parameters and statistics of each layer hold.
    shapes: the shapes between the layers, beginning with the shape of the input.
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
    """Return the bytes, by layer, that training needs: for parameters, their sums, and outputs and their gradients.

    layers: the layers of the net.
    parameter_counts, shapes: as in `of_net`.
    workers: the number of threads; each has its own exact sums and blocks.
    slots: how many numbers the optimizer stores for each parameter, such as a velocity.
    blocks: how many blocks a worker has in memory at the same time.
    """
    needs = []
    for layer, count, shape in zip(layers, parameter_counts, shapes[1:], strict=True):
        shares = layer.memory.y_is_x or layer.memory.dx_is_dy or layer.is_view(NO_BORDER)
        block = 0 if shares else 2 * NUMBER * LANES * math.prod(shape)
        needs.append(NUMBER * (1 + slots) * count + workers * (SUM * count + blocks * block))
    return needs


def require(layers: Sequence[Layer], needs: Sequence[int], times: int = 1, blocks: int = 1) -> None:
    """Raise NetError, naming the layer that needs most, unless there is enough memory.

    layers: the layers of the net.
    needs: the bytes that each layer needs.
    times: how many ranks on this machine need that much.
    blocks: how many blocks are in memory at the same time because their batch norms share statistics.
    """
    needed, there = times * sum(needs), available()
    if needed > there:
        k = max(range(len(needs)), key=needs.__getitem__)
        ranks = f" for {times} ranks" if times > 1 else ""
        group = "a smaller norm group, " if blocks > 1 else ""
        most = f"layer {k}: {layers[k]} takes {size_text(times * needs[k])} of memory{ranks}"
        found = f"{most}, the whole net {size_text(needed)}, but only {size_text(there)} are free"
        raise NetError(f"{found}: use smaller images, a smaller net, {group}or fewer ranks and threads")


def available() -> int:
    """Return the bytes that this process can allocate: the free memory, or the limit of its control group if lower."""
    return min([_free(), *_limits()])


def _free() -> int:
    """Return the bytes that Linux estimates programs can use without swapping; on other systems a very large number."""
    with suppress(OSError, ValueError, IndexError):
        return int(MEMINFO.read_text().split("MemAvailable:")[1].split()[0]) * 1024
    return sys.maxsize


def _limits() -> Iterator[int]:
    """Yield the memory limits of the control groups of this process, which containers and batch jobs set."""
    with suppress(OSError, ValueError):
        for line in GROUPS.read_text().splitlines():
            _, kind, path = line.split(":", 2)
            if kind in ("", "memory"):
                root, name = (CGROUPS / kind, "memory.limit_in_bytes" if kind else "memory.max")
                group = root / path.lstrip("/")
                for folder in [group, *group.parents]:
                    with suppress(OSError, ValueError):  # ValueError: "max"
                        yield int((folder / name).read_text())


def size_text(count: float) -> str:
    """Return a number of bytes as text, in MiB, GiB or TiB."""
    count /= 2**20
    for unit in ("MiB", "GiB"):
        if count < 1000:
            return f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
