"""Whole networks by name. A module of this folder declares some of them in its MODELS, and is found by itself."""

from __future__ import annotations

import math
from importlib import import_module
from pkgutil import iter_modules

from distcnn.config.hints import suggestion
from distcnn.errors import ConfigError
from distcnn.models.base import Model, Shape
from distcnn.network import memory
from distcnn.network.net import Net
from distcnn.network.shapes import infer_shapes, parameter_counts


def _declared() -> dict[str, Model]:
    """Return the models of all modules of this folder, in the order of their names."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    models = [item for module in modules for item in getattr(module, "MODELS", {}).items()]
    return dict(sorted(models))


MODELS = _declared()


def check(name: str) -> None:
    """Raise ConfigError, with a similar name if there is one, unless there is a model of this name."""
    if name not in MODELS:
        hint = suggestion(name, MODELS) or f"; wanted one of: {', '.join(MODELS)}"
        raise ConfigError(f"unknown model {name!r}{hint}")


def build(
    name: str, input_shape: Shape, classes: int, seed: int, conv: str = "winograd", norm_group: int | str = 1
) -> Net:
    """Return the Net of a model.

    input_shape: (c, h, w) of the images
    seed, conv, norm_group: as in `network.net.Net`

    Raises ConfigError for an unknown name, and NetError for images that the model cannot take.
    """
    check(name)
    return Net(MODELS[name].layers(input_shape, classes), input_shape, seed, conv, norm_group)


def check_memory(
    name: str, input_shape: Shape, classes: int, workers: int, slots: int, ranks: int = 1, blocks: int = 1
) -> None:
    """Raise NetError unless there is memory for the training of a model.

    workers: threads of each rank
    slots: arrays of the optimizer, each of the size of the parameters
    ranks: of this node
    blocks: as in `network.memory.of_training`

    Raises ConfigError, too, for an unknown name.
    """
    check(name)
    layers = MODELS[name].layers(input_shape, classes)
    shapes, parameter_specs, statistic_specs = infer_shapes(layers, input_shape)
    counts = parameter_counts(parameter_specs, statistic_specs)
    needs = memory.of_training(layers, counts, shapes, workers, slots, blocks)
    memory.require(layers, needs, ranks, blocks)


def size(name: str) -> tuple[int, int]:
    """Return a model's number of parameters, and the additions and multiplications of a sample's forward pass."""
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
        lines.append(f"{name:<14} {parameters:>12,} {flops:>16,}  {shape}, {model.classes} classes")
    return "\n".join(lines)
