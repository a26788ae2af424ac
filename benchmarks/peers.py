"""The peers: PyTorch, JAX and ONNX Runtime, each with our layers, our weights and a batch in memory.

Every function returns {name: call}, with a text that says why instead of a call that is not possible. distcnn itself
needs none of the peers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from distcnn.layers.base import Layer
    from distcnn.layers.declarations import Shape
    from distcnn.network.net import Net

NAMES = {"peer_pytorch": "PyTorch", "peer_jax": "JAX", "peer_onnx": "ONNX Runtime"}
NEEDS = {
    "peer_pytorch": ("torch",),
    "peer_jax": ("jax",),
    "peer_onnx": ("onnx", "onnxruntime"),
    "peer_ddp": ("torch",),
    "peer_resnet": ("torch",),
    "peer_dataloader": ("torch",),
}


def steps(net: Net, images: np.ndarray, labels: np.ndarray, quick: bool = False) -> dict[str, Callable | str]:
    """Return training steps on a batch; each call returns the loss before the update."""
    return _collect(("peer_pytorch", "peer_jax"), "steps", net, images, labels, quick)


def predictions(net: Net, images: np.ndarray, quick: bool = False) -> dict[str, Callable | str]:
    """Return forward passes on a batch; each call returns the logits."""
    return _collect(("peer_onnx", "peer_pytorch", "peer_jax"), "predictions", net, images, quick)


def directions(layer: Layer, shape: Shape, samples: int) -> dict[str, dict[str, Callable | str]]:
    """Return {direction: {name: call}} for the forward pass, dx and dW of a layer; shape: of its input."""
    found = _collect(("peer_pytorch",), "directions", layer, shape, samples)
    names = "forward", "dx", "dW"
    return {d: {n: c if isinstance(c, str) else c[d] for n, c in found.items()} for d in names}


def layers(layer: Layer, shape: Shape, samples: int) -> dict[str, Callable | str]:
    """Return calls of both passes of a layer, as in training; shape: of its input, without samples."""
    return _collect(("peer_pytorch",), "layers", layer, shape, samples)


def compiled(what: str, model: str, batch_size: int, quick: bool = False) -> dict[str, Callable | str]:
    """Return compiled PyTorch as functions that return a time.

    what: "step" or "prediction".
    model: the name of a model.
    batch_size: the number of samples.
    quick: whether to return nothing, as compilation takes long.
    """
    if quick or missing("peer_pytorch"):
        return {}
    return importlib.import_module("peer_compiled").contender(what, model, batch_size)


def missing(module: str) -> str:
    """Return a text that says why a peer cannot run here; an empty text if it can."""
    return "" if all(map(importlib.util.find_spec, NEEDS[module])) else "not installed"


def _collect(modules, function, *arguments):
    calls = {}
    for module in modules:
        if missing(module):
            calls[NAMES[module]] = missing(module)
        else:
            calls |= getattr(importlib.import_module(module), function)(*arguments)
    return calls
