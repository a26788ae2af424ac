"""Train and predict with arrays that end, or begin, at forbidden memory.

    python tests/programs/out_of_bounds.py end|start [MODEL ...]

The kernels address memory without checks; here whoever reads or writes beyond an array crashes at once.
"""

import ctypes
import mmap
import sys

import numpy as np

from distcnn import lanes
from distcnn.lanes import types

NOTHING = 0  # the kernel's PROT_NONE
LINE = 64  # bytes; arrays begin at such multiples
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
pages_of_arrays = []


def guarded(shape, dtype=np.float32):
    """Do as lanes.aligned does, with forbidden pages before and behind the array's own."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = mmap.mmap(-1, room + 2 * mmap.PAGESIZE)
    pages_of_arrays.append(pages)
    first = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    for place in (first, first + mmap.PAGESIZE + room):
        if libc.mprotect(place, mmap.PAGESIZE, NOTHING):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = mmap.PAGESIZE + ((room - size) // LINE * LINE if sys.argv[1] == "end" else 0)
    return np.frombuffer(pages, np.uint8, size, start).view(dtype).reshape(shape)


types.aligned = lanes.aligned = guarded  # before any module imports it from there

if __name__ == "__main__":
    from distcnn import Net
    from distcnn.config.augment_spec import read
    from distcnn.data.augmentation import Augmentation
    from distcnn.models import build
    from tests.helpers.nets import OTHERS

    rng = np.random.default_rng(0)
    for name in sys.argv[2:]:
        shape = (2, 8, 8) if name == "others" else (1, 28, 28)
        net = Net(OTHERS, shape) if name == "others" else build(name, shape, 3, seed=0)
        images, labels = rng.integers(0, 256, (20, *shape)).astype(np.float32), rng.integers(0, 3, 20)
        net.loss_and_gradients(images, labels)
        net.augmentation = Augmentation(
            read("shift=2,rotate=30,elastic=40:3"), shape, np.float32, net.context
        )
        net.loss_and_gradients(images, labels)
        net.backward(np.ones_like(net.forward(images)))
        net.predict(images)
    print(f"{len(pages_of_arrays)} arrays")
