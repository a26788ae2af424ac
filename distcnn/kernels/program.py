"""Programs: kernel calls in a row, without Python between them, and without its lock.

A call's arguments are fixed when the program is made. They lie in memory as words of 64 bits, in the order in which the
kernel's machine code takes them; a stub of a few instructions, made for each kernel in each process, fetches them.
"""

import sys
from itertools import chain
from typing import NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from distcnn.kernels.jit import Kernel, kernel
from distcnn.lanes.types import INT, LONG

WORDS = LONG.as_pointer()
STUB = ir.FunctionType(ir.VoidType(), [WORDS])


class SyncPoint(NamedTuple):
    """A call (kernel, arguments) that is made once for a group of blocks, when all of them have come so far.

    Its first argument are the rows, [1, ...], that a block has filled, or those of the whole group, [blocks, ...].
    """

    kernel: Kernel
    arguments: tuple


class Program:
    """Calls (kernel, arguments), one after the other; arrays are used where they lie."""

    def __init__(self, calls):
        self.calls = list(calls)  # owns the arrays
        self._words = [_words(*call) for call in self.calls]
        self._addresses = np.array([words.ctypes.data for words in self._words], np.int64)
        self._stubs = np.array(_stubs([each for each, _ in self.calls]), np.int64)
        self._run = run.compiled

    def __call__(self, first=0, stop=None):
        """Make the calls, or those from `first` to `stop` (excluded)."""
        self._run(self._stubs[first:stop], self._addresses[first:stop])


@kernel("i8:1 i8:1")
def run(stubs, words):
    """Call each stub with the address of its words."""
    for k in range(stubs.size):
        _call(stubs[k], words[k])


@intrinsic
def _call(typing, stub, words):
    def generate(context, builder, signature, arguments):
        function, place = (
            builder.inttoptr(argument, kind)
            for argument, kind in zip(arguments, (STUB.as_pointer(), WORDS), strict=True)
        )
        builder.call(function, [place])
        return context.get_dummy_value()

    return types.void(stub, words), generate


def _words(kernel, arguments):
    """Return a call's arguments as words; raise TypeError unless they fit the kernel's signature."""
    kinds = kernel.signature.args
    if len(arguments) != len(kinds):
        raise TypeError(f"{kernel} takes {len(kinds)} arguments; it was given {len(arguments)}")
    words = [_words_of(kernel, *each) for each in zip(kinds, arguments, strict=True)]
    return np.array([*chain.from_iterable(words)], np.int64)


def _words_of(kernel, kind, argument):
    if isinstance(kind, types.BaseTuple):
        return [word for each in zip(kind, argument, strict=True) for word in _words_of(kernel, *each)]
    if not isinstance(kind, types.Array):
        number = np.array(argument, kind.name)
        return [int.from_bytes(number.tobytes(), sys.byteorder, signed=True)]
    if argument.ndim != kind.ndim or argument.dtype.name != kind.dtype.name:
        raise TypeError(f"{kernel} takes {kind}; it was given {argument.dtype} {argument.shape}")
    counted, parent = 0, 0  # nobody counts references
    data = argument.ctypes.data
    return [counted, parent, argument.size, argument.itemsize, data, *argument.shape, *argument.strides]


_STUBS = {}  # by kernel: the address of its stub, and the engine that owns the code


@global_compiler_lock
def _stubs(kernels):
    """Return the addresses of functions that take a call's words from memory and call these kernels."""
    new = {each: each.result for each in kernels if each not in _STUBS}
    if new:
        module = ir.Module("stubs")  # one for all: each takes its time
        names = {each: _add_stub(module, f"stub_{k}", result) for k, (each, result) in enumerate(new.items())}
        engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), _machine())
        engine.finalize_object()
        for each, name in names.items():
            _STUBS[each] = engine.get_function_address(name), engine
    return [_STUBS[each][0] for each in kernels]


def _machine():
    """Return a compiler that does not optimise: it would take longer than all calls of these stubs ever will."""
    return binding.Target.from_default_triple().create_target_machine(opt=0, jit=True)


def _add_stub(module, name, result):
    """Write a stub for what Numba has compiled; return its name."""
    described = result.fndesc
    kind = result.target_context.call_conv.get_function_type(described.restype, described.argtypes)
    address = result.library.get_pointer_to_function(described.llvm_func_name)
    stub = ir.Function(module, STUB, name)
    builder = ir.IRBuilder(stub.append_basic_block())
    results = [builder.alloca(pointer.pointee) for pointer in kind.args[:2]]  # of nothing, of an exception
    arguments = []
    for k, each in enumerate(kind.args[2:]):
        word = builder.load(builder.gep(stub.args[0], [ir.Constant(LONG, k)]))
        arguments.append(_from_word(builder, word, each))
    builder.call(builder.inttoptr(ir.Constant(LONG, address), kind.as_pointer()), [*results, *arguments])
    builder.ret_void()
    return name


def _from_word(builder, word, kind):
    if isinstance(kind, ir.PointerType):
        return builder.inttoptr(word, kind)
    if isinstance(kind, ir.FloatType):
        return builder.bitcast(builder.trunc(word, INT), kind)
    return builder.bitcast(word, kind)
