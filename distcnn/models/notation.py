"""The notation of networks: one layer a line, each a call in Python's syntax with literal arguments.

    Conv2D(6, 5, padding=2)
    ReLU()
    MaxPool2D(2)
    Flatten()
    Dense(10)    # as many outputs as there are classes

Comments and blank lines are allowed. The text is parsed and never executed: a name can only be that of a layer, and an
argument only a number, a text, True, False, None or a tuple of them. So a network from a stranger is as harmless as any
other data. A layer of the user's own is written with its module, as net.Swish(1.5), and is read only if the caller
passes that class.
"""

from __future__ import annotations

import ast
import inspect
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping

from distcnn import layers as own_layers
from distcnn.config.hints import suggestion
from distcnn.errors import NetError
from distcnn.layers import Layer, literals

MAX_BYTES = 4 * 2**20
MAX_LAYERS = 10_000
MAX_DEPTH = 4  # of brackets: a call, a tuple, and tuples in it

# All that a network may consist of. Since there are no operators but the sign of a number, no keywords, no calls of
# calls, and few brackets in brackets, the tree that Python's parser makes is never deep: a deep one can crash Python.
TOKEN = re.compile(
    r"""(?P<blank> [ \t]+ | \r?\n | \#[^\n]*)
    | (?P<name> [A-Za-z_][A-Za-z_0-9]* (?:\.[A-Za-z_][A-Za-z_0-9]*){0,8})
    | (?P<number> -?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,4})?(?![.0-9A-Za-z_]))
    | (?P<text> '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*")
    | (?P<open> [(\[]) | (?P<close> [)\]]) | (?P<mark> [,=])""",
    re.VERBOSE,
)
KEYWORDS = {*keyword.kwlist} - {"True", "False", "None"}
CLASSES: dict[str, type[Layer]] = {name: getattr(own_layers, name) for name in own_layers.__all__}
del CLASSES["Layer"]


def write(layers: Iterable[Layer]) -> str:
    """Return layers in the notation; raise NetError if an argument of a layer cannot be written as a literal."""
    return "".join(f"{literals.call(layer)}\n" for layer in layers)


def read(text: str, where: str, user_classes: Mapping[str, type[Layer]] | None = None) -> list[Layer]:
    """Return the layers in a text.

    text: a network in the notation.
    where: the name of its file, for messages.
    user_classes: the user's own classes of layers, by their names in the notation, such as "net.Swish".

    Raises NetError, which names file and line, if the text is not a network.
    """
    classes = CLASSES | dict(user_classes or {})
    calls = list(_calls(text, where))
    if not calls:
        raise NetError(f"{where}: holds no layers; wanted one a line, such as Conv2D(6, 5)")
    if len(calls) > MAX_LAYERS:
        raise NetError(f"{where}: has {len(calls):,} layers, more than {MAX_LAYERS:,}, the limit")
    return [_layer(call, f"{where}:{call.lineno}", classes) for call in calls]


def user_layers(text: str, where: str) -> list[str]:
    """Return the names of the user's own layers in a network, such as "net.Swish", in order and each once."""
    names = [_name(call.func) for call in _calls(text, where)]
    return list(dict.fromkeys(name for name in names if "." in name))


# ---- parsing ----


def _calls(text: str, where: str) -> Iterator[ast.Call]:
    """Yield the calls in a text; raise NetError at anything else."""
    if len(text) > MAX_BYTES:
        raise NetError(f"{where}: larger than {MAX_BYTES >> 20} MiB, the limit for a network")
    _check_tokens(text, where)
    try:
        statements = ast.parse(text, mode="exec").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        reason = getattr(error, "msg", None) or str(error) or "too deeply nested"
        raise NetError(f"{where}:{line}: {reason}; {_WANTED}") from None
    for statement in statements:
        found = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(found, ast.Tuple):
            raise NetError(
                f"{where}:{statement.lineno}: a comma after a layer; wanted one layer a line, without it"
            )
        if not isinstance(found, ast.Call) or not isinstance(found.func, ast.Name | ast.Attribute):
            raise NetError(f"{where}:{statement.lineno}: not a layer; {_WANTED}")
        yield found


_WANTED = "wanted one layer a line, such as Conv2D(6, 5, padding=2)"


def _check_tokens(text: str, where: str) -> None:
    """Raise NetError at the first part of a text that no network has, or at brackets that are too deeply nested."""
    position = depth = 0
    before = ""  # the kind of the previous token
    while position < len(text):
        match = TOKEN.match(text, position)
        kind = match.lastgroup if match else None
        depth += (kind == "open") - (kind == "close")
        nested = depth > MAX_DEPTH or (before, kind) == ("close", "open")
        if match is None or nested or (kind == "name" and match[0] in KEYWORDS):
            line = text.count("\n", 0, position) + 1
            found = text[position : position + 20].split("\n")[0]
            raise NetError(f"{where}:{line}: {found!r} has no place in a network; {_WANTED}")
        before = before if kind == "blank" else kind or ""
        position = match.end()


def _name(function: ast.expr) -> str:
    """Return the name that is called, with dots, or "" if it is no name."""
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        before = _name(function.value)
        return f"{before}.{function.attr}" if before else ""
    return ""


def _layer(call: ast.Call, where: str, classes: Mapping[str, type[Layer]]) -> Layer:
    """Return the layer that a call makes; where: its file and line, for messages."""
    name = _name(call.func)
    if name not in classes:
        raise NetError(f"{where}: {_unknown(name, classes)}")
    kind = classes[name]
    try:
        given = [_value(each) for each in call.args]
        named = {each.arg or "": _value(each.value) for each in call.keywords}
        if len(named) < len(call.keywords):
            raise ValueError("an argument is given twice")
        _signature(kind).bind(*given, **named)
        return kind(*given, **named)
    except NetError as error:
        raise NetError(f"{where}: {error}") from None
    except (TypeError, ValueError) as error:
        raise NetError(f"{where}: {name}: {error}; wanted {name}{_signature(kind)}") from None


def _value(node: ast.expr) -> object:
    """Return the value of an argument; raise ValueError unless it is a literal."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        found = ast.unparse(node)[:40]
        raise ValueError(f"{found} is not a number, a text, True, False, None or a tuple of them") from None


def _signature(kind: type[Layer]) -> inspect.Signature:
    """Return the arguments of a class of layers, without types, and without what the net sets."""
    declared = getattr(kind, "__dataclass_fields__", {}).values()
    set_by_net = {each.name for each in declared if each.metadata.get(literals.SET_BY_NET)}
    parameters = inspect.signature(kind).parameters.values()
    shown = [each.replace(annotation=each.empty) for each in parameters if each.name not in set_by_net]
    return inspect.Signature(shown)


def _unknown(name: str, classes: Mapping[str, type[Layer]]) -> str:
    """Return the message on a name that is no layer."""
    if "." in name:
        module = name.rpartition(".")[0]
        return f"the layer {name} is of your own code: name its file or module, as --layers {module}.py or {module}"
    pytorch = {each.lower(): each for each in classes} | PYTORCH
    same = pytorch.get(name.lower())
    hint = f", did you mean {same}?" if same else suggestion(name, classes)
    return f"unknown layer {name!r}{hint or '; wanted one of: ' + ', '.join(CLASSES)}"


# PyTorch's and Keras' names that differ from ours by more than capital letters.
PYTORCH = {
    "linear": "Dense",
    "avgpool2d": "MeanPool2D",
    "averagepooling2d": "MeanPool2D",
    "maxpooling2d": "MaxPool2D",
    "globalaveragepooling2d": "GlobalMeanPool2D",
    "adaptiveavgpool2d": "GlobalMeanPool2D",
    "batchnormalization": "BatchNorm2D",
    "batchnorm": "BatchNorm2D",
    "swish": "SiLU",
}
