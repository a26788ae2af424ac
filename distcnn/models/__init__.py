"""Whole networks by name."""

import math
from collections.abc import Callable
from typing import NamedTuple

from distcnn.config.settings import suggestion
from distcnn.errors import ConfigError
from distcnn.models.alexnet import alexnet
from distcnn.models.lenet5 import lenet5, lenet5_gaussian, lenet5_sigmoid
from distcnn.models.lenet5_1998 import lenet5_1998
from distcnn.models.resnet import resnet
from distcnn.models.simple import convolutional, full, local, mlp
from distcnn.models.vgg import vgg16, vgg_small
from distcnn.network import memory
from distcnn.network.net import Net
from distcnn.network.shapes import infer_shapes, parameter_counts


class Model(NamedTuple):
    """A network: layers(input_shape, classes) makes them; input_shape and classes: what it was made for."""

    layers: Callable
    input_shape: tuple[int, int, int]
    classes: int = 10


MODELS = {
    "mlp": Model(mlp, (1, 28, 28)),
    "full": Model(full, (1, 28, 28)),
    "local": Model(local, (1, 28, 28)),
    "convolutional": Model(convolutional, (1, 28, 28)),
    "lenet5": Model(lenet5, (1, 28, 28)),
    "lenet5-sigmoid": Model(lenet5_sigmoid, (1, 28, 28)),
    "lenet5-gaussian": Model(lenet5_gaussian, (1, 28, 28)),
    "lenet5-1998": Model(lenet5_1998, (1, 28, 28)),
    "vgg-small": Model(vgg_small, (3, 32, 32)),
    "vgg16": Model(vgg16, (3, 224, 224), 1000),
    "alexnet": Model(alexnet, (3, 224, 224), 1000),
    "resnet20": Model(resnet(3), (3, 32, 32)),
    "resnet32": Model(resnet(5), (3, 32, 32)),
    "resnet56": Model(resnet(9), (3, 32, 32)),
}


def check(name):
    """Raise ConfigError, with the nearest name, unless there is a model of this name."""
    if name not in MODELS:
        wanted = suggestion(name, MODELS) or f"; wanted one of: {', '.join(MODELS)}"
        raise ConfigError(f"unknown model {name!r}{wanted}")


def build(name, input_shape, classes, seed, conv="winograd", norm_group=1):
    """Return the Net of this name for images of `input_shape` (c, h, w); conv, norm_group: as in Net.

    Raises ConfigError and NetError.
    """
    check(name)
    return Net(MODELS[name].layers(input_shape, classes), input_shape, seed, conv, norm_group)


def check_memory(name, input_shape, classes, workers, slots, ranks=1, blocks=1):
    """Raise NetError unless there is memory for so many ranks that train this model, with so many hands each.

    hands, kept, blocks: as in distcnn.network.memory.of_training. Raises ConfigError, too.
    """
    check(name)
    layers = MODELS[name].layers(input_shape, classes)
    shapes, parameter_specs, statistic_specs = infer_shapes(layers, input_shape)
    counts = parameter_counts(parameter_specs, statistic_specs)
    needs = memory.of_training(layers, counts, shapes, workers, slots, blocks)
    memory.require(layers, needs, ranks, blocks)


def size(name):
    """Return a model's number of parameters, and of products and sums in a sample's forward pass."""
    model = MODELS[name]
    layers = model.layers(model.input_shape, model.classes)
    shapes, parameter_specs, _ = infer_shapes(layers, model.input_shape)
    parameters = sum(math.prod(parameter.shape) for each in parameter_specs for parameter in each.values())
    return parameters, sum(layer.flops(shape) for layer, shape in zip(layers, shapes, strict=False))


def list_models():
    """Return a table of all models as text."""
    lines = [f"{'model':<14} {'parameters':>12} {'FLOPs a sample':>16}  input"]
    for name, model in MODELS.items():
        parameters, flops = size(name)
        shape = " x ".join(map(str, model.input_shape))
        lines.append(f"{name:<14} {parameters:>12,} {flops:>16,}  {shape}, {model.classes} classes")
    return "\n".join(lines)
