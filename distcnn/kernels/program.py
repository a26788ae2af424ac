"""Programs: sequences of kernel calls that run without Python between the calls and without Python's global lock.

A call of a plain Python function, as layers of the user's may have, makes Python make all calls of the program.

The arguments of each call are fixed when the program is made. They are stored as words of 64 bits, in the order in
which the machine code of the kernel expects them. A stub of a few instructions, made once per kernel and process, reads
the words and calls the kernel (kernels/numba_abi). If a release of Numba does not allow that, Python makes the calls.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from distcnn.kernels.jit import Kernel, kernel
from distcnn.kernels.numba_abi import STUB, WORDS, UnknownNumba, report, stub_addresses, words


class SyncPoint(NamedTuple):
    """A call (kernel, arguments) that is made once for a group of blocks, when the programs of all blocks reach it.

    The first argument is an array of rows, one per block: [1, ...] in the plan of a block, [blocks, ...] in the call.
    """

    kernel: Kernel
    arguments: tuple


class Program:
    """A sequence of calls (kernel, arguments); arrays are not copied, so calls read their current content."""

    def __init__(self, calls: Iterable[tuple]) -> None:
        """Prepare the calls; raise TypeError if arguments do not fit their kernel's signature."""
        self.calls = list(calls)  # keeps the arrays alive
        if all(isinstance(each, Kernel) for each, _ in self.calls):
            self._words = [words(*call) for call in self.calls]
            try:
                self._functions = np.array(stub_addresses([each.code for each, _ in self.calls]), np.int64)
                self._arguments = np.array([each.ctypes.data for each in self._words], np.int64)
                self._run = run.compiled
                return
            except UnknownNumba as error:
                report(error)
        self._functions = [each.compiled if isinstance(each, Kernel) else each for each, _ in self.calls]
        self._arguments = [arguments for _, arguments in self.calls]
        self._run = _run_in_python

    def __call__(self, first: int = 0, stop: int | None = None) -> None:
        """Make all calls, or those from number `first` to `stop` (excluded)."""
        self._run(self._functions[first:stop], self._arguments[first:stop])


@kernel("i8:1 i8:1")
def run(stubs, words):
    """Call each stub with the address of its words."""
    for k in range(stubs.size):
        _call(stubs[k], words[k])


@intrinsic
def _call(typing, stub, words):
    def generate(context, builder, signature, arguments):
        kinds = STUB.as_pointer(), WORDS
        function, place = map(builder.inttoptr, arguments, kinds)
        builder.call(function, [place])
        return context.get_dummy_value()

    return types.void(stub, words), generate


def _run_in_python(functions, arguments):
    for function, given in zip(functions, arguments, strict=True):
        function(*given)
