"""The private interfaces of Numba that distcnn uses, each with a fallback to Numba's public interface.

They are needed for four purposes:

* putting a checksum on the files of Numba's cache, without which there is no cache;
* loading a kernel from Numba's cache without preparing Numba to compile, which would be half of the time of a warm
  start, as Numba then imports another hundred of its modules, and SciPy if that is installed;
* calling a kernel as a built-in function, without Numba's dispatch on argument types;
* calling machine code by its address from a program (kernels/program), which passes arguments as Numba lays them out.

If one of Numba's private names is missing or different, kernels are compiled by `numba.njit` with a signature and
called through Numba's dispatcher. That is slower, but gives the same bits. `report` warns once.
"""

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types

from distcnn.kernels.kernel_cache import CodeFile
from distcnn.lanes.types import INT, LONG, writable_view
from distcnn.system.counts import counted
from distcnn.system.terminal_text import warn

try:
    from numba.core.compiler_lock import global_compiler_lock as compiler_lock
except ImportError:
    compiler_lock = threading.RLock()

WORDS = LONG.as_pointer()
STUB = ir.FunctionType(ir.VoidType(), [WORDS])
ARRAY_FIELDS = "meminfo", "parent", "nitems", "itemsize", "data", "shape", "strides"


class UnknownNumba(Exception):
    """A private name or structure of Numba is not what this module expects."""


@contextmanager
def _private(purpose):
    """Turn errors that missing or changed names, signatures or structures of Numba cause into UnknownNumba."""
    try:
        yield
    except (AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UnknownNumba(f"{purpose}: {error!r}") from error


_REPORTED = []


def report(error: UnknownNumba) -> None:
    """Warn on stderr, once per process, that distcnn uses only the public interface of this release of Numba."""
    if not _REPORTED:
        _REPORTED.append(error)
        text = f"distcnn does not know this release of Numba, {numba.__version__} ({error}): "
        text += "it starts or computes more slowly, with the same results"
        warn(text)


# ---- compiling and loading ----


@dataclass(eq=False)
class Code:
    """A compiled kernel.

    function: the function to call: a built-in function, or one that calls Numba's dispatcher.
    dispatcher: Numba's dispatcher, which owns the machine code.
    result: Numba's description of the machine code, or None if it is not known.
    stub: (address of the kernel's stub, LLVM engine that owns it); empty until the stub is made.
    """

    function: Callable
    dispatcher: object
    result: object = None
    stub: tuple = field(default=(), repr=False)


class Compiler:
    """Numba's compiler for one function with one signature.

    function: the function to compile.
    signature: its Numba signature.
    folder: where machine code is cached, or None for no cache; OSError if Numba would cache elsewhere.
    options: options of numba.njit.
    """

    def __init__(self, function: Callable, signature: types.Type, folder: Path | None, **options: Any):
        self.function, self.signature, self.folder, self.options = function, signature, folder, options
        self.dispatcher, self.file = self._decorate(cache=bool(folder)), None  # the file in the cache
        if folder:
            place = Path(self.dispatcher.stats.cache_path)
            if place.parent != folder:
                raise OSError(f"Numba would cache in {place}")
            self._use_checked_file(place)

    def _decorate(self, *signature, cache=False):
        with _set_config("CACHE_DIR", str(self.folder or "")):
            return numba.njit(*signature, cache=cache, **self.options)(self.function)

    def _use_checked_file(self, place):
        """Let Numba read and write a file with a checksum; do without a cache where that is not known to work."""
        try:
            with _private("the files of the cache"):
                saved, files = self.dispatcher._cache, self.dispatcher._cache._cache_file
                _check_arguments(type(files).load, 2)
                _check_arguments(type(files).save, 3)
                self.file = CodeFile(self.function, place, saved._impl.filename_base, files._dump)
                saved._cache_file = self.file
        except UnknownNumba as error:
            report(error)
            self.folder, self.dispatcher = None, self._decorate()

    def load(self) -> Code | None:
        """Return the code in the cache, or None; raise any exception that a damaged file causes."""
        try:
            with _private("loading from the cache"):
                from numba.core.runtime import rtsys

                context, saved = self.dispatcher.targetctx, self.dispatcher._cache
                _check_arguments(type(saved)._load_overload, 3)
                rtsys.initialize(context)  # what every kernel is linked to
        except UnknownNumba as error:
            report(error)
            return None
        result = saved._load_overload(self.signature, context)
        return None if result is None else self._code(result)

    def compile(self) -> Code:
        """Compile and save in the cache, unless the code is there; raise any exception of the cache or the compiler."""
        if not all(hasattr(self.dispatcher, name) for name in ("compile", "overloads")):
            report(UnknownNumba("compiling: the dispatcher has other methods"))
            return self._public()
        self.dispatcher.compile(self.signature)
        return self.compiled() or self._public()

    def compiled(self) -> Code | None:
        """Return the code that `compile` has compiled, even if it could not be saved; None if there is none."""
        result = getattr(self.dispatcher, "overloads", {}).get(self.signature.args)
        return None if result is None else self._code(result)

    def _code(self, result):
        try:
            with _private("the result of compiling"):
                return Code(result.entry_point, self.dispatcher, result)
        except UnknownNumba as error:
            report(error)
            return self._public()

    def _public(self):
        """Return code that is compiled or loaded, and called, through Numba's public interface."""
        dispatcher = self._decorate(self.signature)

        def call(*arguments):
            return dispatcher(*(writable_view(a) if isinstance(a, np.ndarray) else a for a in arguments))

        return Code(call, dispatcher)


@cache
def _check_arguments(function, count):
    """Raise TypeError unless the function can be called with `count` arguments."""
    inspect.signature(function).bind(*range(count))


@contextmanager
def _set_config(name: str, value) -> Iterator[None]:
    """Change one of Numba's settings inside the block."""
    previous = getattr(numba.config, name, None)
    setattr(numba.config, name, value)
    try:
        yield
    finally:
        setattr(numba.config, name, previous)


@contextmanager
def optimization_level(level: int) -> Iterator[None]:
    """Set LLVM's level of optimization inside the block, if Numba has the known setting for it."""
    kind = type(getattr(numba.config, "OPT", None))
    if not issubclass(kind, int):
        yield
        return
    with _set_config("OPT", kind(level)):
        yield


# ---- arguments as words of 64 bits, in the order in which machine code expects them ----


def words(kernel: Any, arguments: tuple) -> np.ndarray:
    """Return the arguments of a call of a Kernel as words, int64; raise TypeError unless they fit its signature."""
    kinds = kernel.signature.args
    if len(arguments) != len(kinds):
        raise TypeError(f"{kernel} takes {counted(len(kinds), 'argument')}; it was given {len(arguments)}")
    found = [_words_of(kernel, *each) for each in zip(kinds, arguments, strict=True)]
    return np.array([*chain.from_iterable(found)], np.int64)


def _words_of(kernel, kind, argument):
    if isinstance(kind, types.BaseTuple):
        return [word for each in zip(kind, argument, strict=True) for word in _words_of(kernel, *each)]
    if not isinstance(kind, types.Array):
        number = np.array(argument, kind.name)
        return [int.from_bytes(number.tobytes(), sys.byteorder, signed=True)]
    if argument.ndim != kind.ndim or argument.dtype.name != kind.dtype.name:
        raise TypeError(f"{kernel} takes {kind}; it was given {argument.dtype} {argument.shape}")
    meminfo, parent = 0, 0  # machine code need not count references, since the program owns its arrays
    data = argument.ctypes.data
    return [meminfo, parent, argument.size, argument.itemsize, data, *argument.shape, *argument.strides]


def _check_words(result, given):
    """Raise UnknownNumba unless machine code expects the words of `_words_of`; given: LLVM's types of its arguments."""
    expected = []
    for kind in result.signature.args:
        if isinstance(kind, types.Array):
            if result.target_context.data_model_manager[kind]._fields != ARRAY_FIELDS:
                raise UnknownNumba("an array has other fields")
            expected += ["pointer", "pointer", "i64", "i64", "pointer", *["i64"] * (2 * kind.ndim)]
        else:
            numbers = kind if isinstance(kind, types.BaseTuple) else [kind]
            expected += [_llvm_name(number) for number in numbers]
    if expected != ["pointer" if isinstance(each, ir.PointerType) else str(each) for each in given]:
        raise UnknownNumba("machine code expects other arguments")


def _llvm_name(number):
    """Return LLVM's name of a Numba type of numbers."""
    bits = np.dtype(number.name).itemsize * 8
    return {32: "float", 64: "double"}[bits] if isinstance(number, types.Float) else f"i{bits}"


# ---- stubs: functions of a few instructions that take a call's words from memory and call a kernel ----


def stub_addresses(codes: list[Code]) -> list[int]:
    """Return the address of the stub of each code; a stub is made once per process.

    Raises UnknownNumba if Numba's machine code has another calling convention than this module expects.
    """
    with compiler_lock, _private("calling machine code"):
        new = [*dict.fromkeys(code for code in codes if not code.stub)]
        if new:
            module = ir.Module("stubs")  # one module for all, as compiling each takes time
            for k, code in enumerate(new):
                _add_stub(module, f"stub_{k}", code.result)
            engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), _machine())
            engine.finalize_object()
            for k, code in enumerate(new):
                code.stub = engine.get_function_address(f"stub_{k}"), engine
        return [code.stub[0] for code in codes]


def _machine():
    """Return LLVM's compiler without optimization, as optimizing would take longer than all calls of these stubs."""
    return binding.Target.from_default_triple().create_target_machine(opt=0, jit=True)


def _add_stub(module, name, result):
    """Add the stub of compiled code to an LLVM module.

    The machine code returns None and an exception through two pointers, which are its first arguments.
    """
    described = result.fndesc
    kind = result.target_context.call_conv.get_function_type(described.restype, described.argtypes)
    places, given = kind.args[:2], kind.args[2:]
    _check_words(result, given)
    address = result.library.get_pointer_to_function(described.llvm_func_name)
    stub = ir.Function(module, STUB, name)
    builder = ir.IRBuilder(stub.append_basic_block())
    results = [builder.alloca(pointer.pointee) for pointer in places]
    arguments = []
    for k, each in enumerate(given):
        word = builder.load(builder.gep(stub.args[0], [ir.Constant(LONG, k)]))
        arguments.append(_from_word(builder, word, each))
    builder.call(builder.inttoptr(ir.Constant(LONG, address), kind.as_pointer()), [*results, *arguments])
    builder.ret_void()


def _from_word(builder, word, kind):
    if isinstance(kind, ir.PointerType):
        return builder.inttoptr(word, kind)
    if isinstance(kind, ir.FloatType):
        return builder.bitcast(builder.trunc(word, INT), kind)
    if isinstance(kind, ir.IntType) and kind.width < 64:
        return builder.trunc(word, kind)
    return builder.bitcast(word, kind)
