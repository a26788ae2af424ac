"""The peers: PyTorch, JAX and ONNX Runtime, each given our layers, our weights and a batch that is ready in memory.

Every function returns calls by name, or in place of a call why there is none. Nothing here is needed to use distcnn.
"""

import importlib.util

NAMES = {"peer_pytorch": "PyTorch", "peer_jax": "JAX", "peer_onnx": "ONNX Runtime"}
NEEDS = {
    "peer_pytorch": ("torch",),
    "peer_jax": ("jax",),
    "peer_onnx": ("onnx", "onnxruntime"),
    "peer_ddp": ("torch",),
    "peer_resnet": ("torch",),
}


def steps(net, images, labels, quick=False):
    """Return training steps on a batch, each of which returns its loss before the update."""
    return _collect(("peer_pytorch", "peer_jax"), "steps", net, images, labels, quick)


def predictions(net, images, quick=False):
    """Return forward passes on a batch, each of which returns the logits."""
    return _collect(("peer_onnx", "peer_pytorch", "peer_jax"), "predictions", net, images, quick)


def directions(layer, shape, samples):
    """Return for forward, dx and dW of a layer the calls; input shape without samples."""
    found = _collect(("peer_pytorch",), "directions", layer, shape, samples)
    names = "forward", "dx", "dW"
    return {d: {n: c if isinstance(c, str) else c[d] for n, c in found.items()} for d in names}


def layers(layer, shape, samples):
    """Return the forward and backward pass of a layer, as in training; input shape without samples."""
    return _collect(("peer_pytorch",), "layers", layer, shape, samples)


def compiled(what, model, batch_size, quick=False):
    """Return PyTorch compiled as functions that give a time: what is "step" or "prediction", of a model by name."""
    if quick or missing("peer_pytorch"):
        return {}
    return importlib.import_module("peer_compiled").contender(what, model, batch_size)


def missing(module):
    """Return why a peer cannot run here; an empty text if it can."""
    return "" if all(map(importlib.util.find_spec, NEEDS[module])) else "not installed"


def _collect(modules, function, *arguments):
    calls = {}
    for module in modules:
        if missing(module):
            calls[NAMES[module]] = missing(module)
        else:
            calls |= getattr(importlib.import_module(module), function)(*arguments)
    return calls
