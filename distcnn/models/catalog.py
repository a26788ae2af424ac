"""All models by name: every module of this folder that declares MODELS is found automatically."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from distcnn.models.base import Model
from distcnn.network.shapes import infer_shapes


def _declared(folders: Iterable[str]) -> dict[str, Model]:
    """Return the models of all modules of this package, in the order of their names; folders: where these lie."""
    names = [found.name for found in iter_modules(folders) if found.name not in NOT_MODELS]
    modules = [import_module(f"distcnn.models.{name}") for name in names]
    found = [item for module in modules for item in getattr(module, "MODELS", {}).items()]
    return dict(sorted(found))


NOT_MODELS = {"__main__", "catalog", "networks"}  # they need this module
MODELS = _declared([str(Path(__file__).parent)])


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
        lines.append(f"{name:<14} {parameters:>12,} {flops:>16,}  {shape}, {model.classes} classes")
    return "\n".join(lines)
