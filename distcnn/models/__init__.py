"""All models by name. Every module of this folder that declares MODELS is found automatically."""

from __future__ import annotations

import math
from importlib import import_module
from pkgutil import iter_modules

from distcnn.config.hints import model_hint
from distcnn.errors import ConfigError
from distcnn.models.base import Model, Shape
from distcnn.network import memory
from distcnn.network.net import Net
from distcnn.network.shapes import infer_shapes, parameter_counts
from distcnn.system.counts import counted


def _declared() -> dict[str, Model]:
    """Return the models of all modules of this folder, in the order of their names."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    models = [item for module in modules for item in getattr(module, "MODELS", {}).items()]
    return dict(sorted(models))


MODELS = _declared()


def check(name: str) -> None:
    """Raise ConfigError, with a hint at what the user may mean, if no model has this name."""
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}{model_hint(name, MODELS)}")


def build(
    name: str, input_shape: Shape, classes: int, seed: int, conv: str = "winograd", norm_group: int | str = 1
) -> Net:
    """Return the Net of a model.

    input_shape: (c, h, w) of the images.
    classes: the number of classes.
    seed: as in `network.net.Net`, like the arguments after it.

    Raises ConfigError for an unknown name, and NetError if the images do not fit the model.
    """
    check(name)
    return Net(MODELS[name].layers(input_shape, classes), input_shape, seed, conv, norm_group)


def check_memory(
    name: str, input_shape: Shape, classes: int, workers: int, slots: int, ranks: int = 1, blocks: int = 1
) -> None:
    """Raise NetError unless this node has enough memory to train a model, and ConfigError for an unknown name.

    workers: the number of threads of each rank.
    slots: the number of arrays of optimizer and EMA, each of the size of the parameters.
    ranks: the number of ranks of this node.
    blocks: as in `network.memory.of_training`.

    """
    check(name)
    layers = MODELS[name].layers(input_shape, classes)
    shapes, parameter_specs, statistic_specs = infer_shapes(layers, input_shape)
    counts = parameter_counts(parameter_specs, statistic_specs)
    needs = memory.of_training(layers, counts, shapes, workers, slots, blocks)
    memory.require(layers, needs, ranks, blocks)


def size(name: str) -> tuple[int, int]:
    """Return a model's number of parameters, and the number of FLOPs of a sample's forward pass."""
    model = MODELS[name]
    layers = model.layers(model.input_shape, model.classes)
    shapes, parameter_specs, _ = infer_shapes(layers, model.input_shape)
    parameters = sum(math.prod(parameter.shape) for each in parameter_specs for parameter in each.values())
    return parameters, sum(layer.flops(shape) for layer, shape in zip(layers, shapes, strict=False))


def list_models() -> str:
    """Return a table of all models as text."""
    lines = [f"{'model':<14} {'parameters':>12} {'FLOPs a sample':>16}  input"]
    for name, model in MODELS.items():
        parameters, flops = size(name)
        shape = " x ".join(map(str, model.input_shape))
        wanted = f"{shape}, {counted(model.classes, 'class')}"
        lines.append(f"{name:<14} {parameters:>12,} {flops:>16,}  {wanted}")
    return "\n".join(lines)
