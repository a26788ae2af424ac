"""Without the private parts of Numba that distcnn uses, kernels are called in a public way, with the same bits."""

import ast
from pathlib import Path

import numpy as np
import pytest
from numba.core.registry import cpu_target

import distcnn
from distcnn.kernels.axis import Axis
from distcnn.kernels.jit import kernel
from distcnn.kernels.numba_abi import Compiler
from distcnn.kernels.pointwise import relu_forward
from distcnn.kernels.program import Program
from distcnn.lanes.cpu import processor
from distcnn.numerics import NUMERICS
from tests.helpers.digests import GOLDEN, STEPS, digest

PACKAGE = Path(distcnn.__file__).parent

# What another release of Numba may change, as code that is run before distcnn is imported.
CHANGES = {
    "no reader of the cache": """
from numba.core.caching import Cache
read = Cache._load_overload
Cache.load_overload = lambda self, sig, context: context.refresh() or read(self, sig, context)
del Cache._load_overload
""",
    "another reader of the cache": """
from numba.core import caching
read = caching.Cache._load_overload
caching.Cache._load_overload = lambda self, sig, context, more: read(self, sig, context)
caching.Cache.load_overload = lambda self, sig, context: context.refresh() or read(self, sig, context)
""",
    "other files of the cache": """
from numba.core.caching import IndexDataCacheFile
IndexDataCacheFile.save = lambda self, key, data, more: None
""",
    "another runtime": """
import sys
from numba.core.runtime import rtsys
original = type(rtsys).initialize
def changed(self, *context):
    if "distcnn" in sys._getframe(1).f_globals["__name__"]:
        raise TypeError("initialize() missing 1 required positional argument")
    return original(self, *context)
type(rtsys).initialize = changed
""",
    "no lock, no runtime": """
import builtins
original = builtins.__import__
def changed(name, globals=None, *more, **named):
    if name in ("numba.core.compiler_lock", "numba.core.runtime") and "distcnn" in (globals or {}).get("__name__", ""):
        raise ImportError(name)
    return original(name, globals, *more, **named)
builtins.__import__ = changed
""",
    "another calling convention": """
import sys
from llvmlite import ir
from numba.core.callconv import CPUCallConv
original = CPUCallConv.get_function_type
def changed(self, *types):
    kind = original(self, *types)
    asks = sys._getframe(1).f_globals["__name__"]
    return ir.FunctionType(kind.return_type, [*kind.args, ir.IntType(64)]) if "distcnn" in asks else kind
CPUCallConv.get_function_type = changed
""",
    "no machine code by name": """
import sys
from numba.core.codegen import JITCodeLibrary
original = JITCodeLibrary.get_pointer_to_function
def changed(self, name):
    if "distcnn" in sys._getframe(1).f_globals["__name__"]:
        raise AttributeError("get_pointer_to_function")
    return original(self, name)
JITCodeLibrary.get_pointer_to_function = changed
""",
    "no entry point": """
import sys
from numba.core.compiler import CompileResult
def entry_point(self):
    if "distcnn" in sys._getframe(1).f_globals["__name__"]:
        raise AttributeError("entry_point")
    return self[2]
CompileResult.entry_point = property(entry_point)
""",
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_numba_gives_the_same_bits(run, change, tmp_path):
    """The command is that of a plain run; one line on stderr warns of the change."""
    code = f"{CHANGES[change]}\nimport runpy; runpy.run_module('distcnn.train', run_name='__main__')"
    done = run("python", "-c", code, "--max-steps", STEPS, "--progress", "none", cwd=tmp_path)
    assert digest(done) == GOLDEN[NUMERICS]
    warnings = [line for line in done.stderr.splitlines() if "does not know this release of Numba" in line]
    assert len(warnings) == 1, done.stderr


def names(tree):
    """Yield the full names that a module imports, and the attributes that it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{each.name}" for each in node.names)


def is_private(name):
    """Return whether a name belongs to Numba's inside; numba.core.cgutils is documented, for extensions."""
    inside = name.startswith("numba.core") and name != "numba.core.cgutils"
    return inside or name in {"_cache", "overloads", "fndesc", "entry_point", "targetctx", "call_conv"}


def test_only_one_module_knows_the_private_parts_of_numba():
    found = {
        path for path in PACKAGE.rglob("*.py") if any(map(is_private, names(ast.parse(path.read_text()))))
    }
    assert found == {PACKAGE / "kernels" / "numba_abi.py"}


def test_the_cpu_is_the_one_that_numba_compiles_for():
    _, *cpu = cpu_target.target_context.codegen().magic_tuple()
    assert processor() == tuple(cpu)


@kernel("u1 i4 f4 f8 axis i8 f8:1")
def gather_numbers(a, b, c, d, axis, e, result):
    """Put all arguments into an array [9]."""
    result[0], result[1], result[2], result[3] = a, b, c, d
    for k in range(4):
        result[4 + k] = axis[k]
    result[8] = e


def test_numbers_of_every_size_reach_machine_code():
    numbers = 200, -(2**31) + 1, np.float32(0.1), 1 / 3, Axis(1, -2, 3, -4), -(2**52) - 1
    by_stub, by_python = np.zeros(9), np.zeros(9)
    Program([(gather_numbers, (*numbers, by_stub))])()
    gather_numbers(*numbers, by_python)
    assert by_stub.tolist() == [*numbers[:4], *numbers[4], numbers[5]]
    assert by_python.tolist() == by_stub.tolist()


def test_the_public_interface_takes_read_only_arrays():
    x = np.linspace(-1, 1, 160, dtype=np.float32).reshape(1, 1, 2, 5, 16)
    y = np.zeros_like(x)
    x.flags.writeable = False
    code = Compiler(relu_forward.function, relu_forward.signature, None)._public()
    code.function(x, y)
    assert np.array_equal(y, np.maximum(x, 0))
