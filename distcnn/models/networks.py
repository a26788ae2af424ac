"""Networks by the word for `--model`, and their layers: a model by name, a text file, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from distcnn.config import model_word
from distcnn.config.hints import model_hint
from distcnn.config.model_word import ModelWord
from distcnn.config.tasks import TASKS
from distcnn.config.types import CLASSIFY
from distcnn.errors import ConfigError, NetError
from distcnn.layers import Layer
from distcnn.layers.literals import class_name
from distcnn.models import notation, user_code
from distcnn.models.base import Network, Shape
from distcnn.models.catalog import MODELS
from distcnn.network import memory
from distcnn.network.losses import check_last
from distcnn.network.net import Net
from distcnn.network.shapes import infer_shapes, parameter_counts
from distcnn.system.counts import counted
from distcnn.system.regular_files import read_regular


def check(word: str) -> None:
    """Raise ConfigError unless a word for `--model` names a network, as far as that is known without data."""
    parsed = model_word.parse(word)
    if parsed.source.endswith(".txt"):
        _read(parsed.source)
    else:
        _maker(parsed)


def network_text(
    word: str, input_shape: Shape, outputs: int, sources: Iterable[str] = (), task: str = CLASSIFY
) -> str:
    """Return a network in the notation of `models.notation`; run the user's function if the word names one.

    word: a word for `--model`.
    input_shape: (c, h, w) of the images.
    outputs: the number of classes, labels or targets.
    sources: the user's files and modules that define layers, for a word that names a text file.
    task: what the net is to learn.

    Raises ConfigError or NetError, which name the user's file and line, if the network cannot be made.
    """
    parsed = model_word.parse(word)
    if parsed.source.endswith(".txt"):
        layers = read_layers(_read(parsed.source), parsed.source, sources)
    else:
        layers = _layers(_maker(parsed), word, input_shape, outputs)
    check_outputs(layers, f"--model {word}", input_shape, outputs, task)
    return notation.write(layers)


def read_layers(text: str, where: str, sources: Iterable[str] = ()) -> list[Layer]:
    """Return the layers of a network in the notation.

    text: the network.
    where: the name of its file, for messages.
    sources: the user's files and modules that define layers; they are imported if the network has layers of the user's.
    """
    modules = [user_code.load(source) for source in sources] if notation.user_layers(text, where) else []
    own = {name: each for module in modules for name, each in user_code.layer_classes(module).items()}
    return notation.read(text, where, own)


def network_of(made: Any, input_shape: Shape, outputs: int, task: str = CLASSIFY) -> Network:
    """Return the network of layers that exist in this process.

    made: the layers, in a list or the like.
    input_shape: (c, h, w) of the images.
    outputs: the number of classes, labels or targets.
    task: what the net is to learn.

    Raises ConfigError or NetError unless these are layers that fit the images and can be written in the notation.
    """
    layers = _as_layers(made, "model is")
    check_outputs(layers, "model", input_shape, outputs, task)
    text, classes = notation.write(layers), {class_name(type(each)): type(each) for each in layers}
    return Network(text, notation.read(text, "model", classes), user_code.source_hashes(layers))


def code_sources(word: str | None, layers: str | None) -> list[str]:
    """Return the files and modules of the user's that the values of `--model` and `--layers` name."""
    parsed = model_word.parse(word) if word else None
    return [*([parsed.source] if parsed and parsed.function else []), *([layers] if layers else [])]


def check_outputs(
    layers: Sequence[Layer], where: str, input_shape: Shape, outputs: int, task: str = CLASSIFY
) -> None:
    """Raise NetError unless layers fit the images and end in what a task wants.

    where: what the layers were read from, for messages.
    input_shape: (c, h, w) of the images.
    outputs: the number of classes, labels or targets.
    task: what the net is to learn.
    """
    try:
        shapes, _, _ = infer_shapes(layers, input_shape)
        if shapes[-1] == (outputs,):
            check_last(TASKS[task], layers[-1], shapes[-1])
    except NetError as error:
        raise NetError(f"{where}: {error}") from None
    if shapes[-1] != (outputs,):
        wanted = counted(outputs, TASKS[task].output)
        found = f"{where} ends in an output of shape {shapes[-1]}, but the data have {wanted}"
        raise NetError(f"{found}: end it in Dense({outputs})")


def build(
    name: str, input_shape: Shape, classes: int, seed: int, conv: str = "winograd", norm_group: int | str = 1
) -> Net:
    """Return the Net of a model.

    name: a word for `--model`.
    input_shape: (c, h, w) of the images.
    classes: the number of classes.
    seed: as in `network.net.Net`, like the arguments after it.

    Raises ConfigError for an unknown name, and NetError if the images do not fit the model.
    """
    text, sources = network_text(name, input_shape, classes), code_sources(name, None)
    layers = read_layers(text, name, sources)
    return Net(layers, input_shape, seed, conv, norm_group)


def check_memory(
    layers: Sequence[Layer], input_shape: Shape, workers: int, slots: int, ranks: int = 1, blocks: int = 1
) -> None:
    """Raise NetError unless this node has enough memory to train a network.

    layers: its layers.
    input_shape: (c, h, w) of the images.
    workers: the number of threads of each rank.
    slots: the number of arrays of optimizer and EMA, each of the size of the parameters.
    ranks: the number of ranks of this node.
    blocks: as in `network.memory.of_training`.
    """
    shapes, parameter_specs, statistic_specs = infer_shapes(layers, input_shape)
    counts = parameter_counts(parameter_specs, statistic_specs)
    needs = memory.of_training(layers, counts, shapes, workers, slots, blocks)
    memory.require(layers, needs, ranks, blocks)


# ---- words for --model ----


def _maker(word: ModelWord) -> Callable[[Shape, int], Any]:
    """Return the function that a word names, by which layers are made from the shape of images and the classes."""
    if word.function:
        return user_code.function(user_code.load(word.source), word.function, word.source)
    if word.source not in MODELS:
        raise ConfigError(_unknown(word))
    return MODELS[word.source].layers


def _unknown(word: ModelWord) -> str:
    """Return the message on a word that names no network."""
    if not word.source.endswith(".py"):
        return f"unknown model {word.source!r}{model_hint(word.source, MODELS)}"
    found = user_code.functions(word.source)
    remedy = f"its functions are {', '.join(found)}" if found else "a function that returns a list of layers"
    return f"--model {word.source} names no function; wanted {word.source}:FUNCTION, {remedy}"


def _read(path: str) -> str:
    """Return the content of a file that holds a network in the notation."""
    try:
        return read_regular(path, notation.MAX_BYTES).decode()
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; wanted a network, one layer a line: check the path"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}; wanted a network, one layer a line") from None


def _layers(maker: Callable[[Shape, int], Any], word: str, input_shape: Shape, outputs: int) -> list[Layer]:
    """Return the layers that a function makes; raise ConfigError unless they are layers."""
    return _as_layers(user_code.call(maker, input_shape, outputs, source=word), f"--model {word} returned")


def _as_layers(made: Any, what: str) -> list[Layer]:
    """Return a list of layers; raise ConfigError unless it is one. what: where it is from, for the message."""
    layers = list(made) if isinstance(made, Iterable) else None
    wrong = [each for each in layers or [] if not isinstance(each, Layer)]
    if not layers or wrong:
        item = wrong[0] if wrong else made
        found = " ".join(f"{'a list with ' * isinstance(made, list)}{item!r}".split())[:80] + _hint(item)
        wanted = "wanted a list of layers, such as [Conv2D(6, 5), Flatten(), Dense(outputs)]"
        raise ConfigError(f"{what} {found}; {wanted}")
    return layers


def _hint(item: Any) -> str:
    """Return what an item is that is no layer, and how to make layers of it; "" if that is not known."""
    if isinstance(item, type) and issubclass(item, Layer):
        return f", which is a class: call it, as in {item.__name__}()"
    if isinstance(item, list) and item:
        return ", which is a list itself: write * before it"
    if hasattr(item, "state_dict"):
        return ", which is of PyTorch: take the same layers of distcnn.layers"
    return ""
