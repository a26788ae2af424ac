"""The peer JAX, compiled, on the CPU: the layers of our nets as pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from distcnn import layers as ours

if TYPE_CHECKING:
    from distcnn.network.net import Net

jax.config.update("jax_platforms", "cpu")
DIMENSIONS = ("NHWC", "OIHW", "NHWC")


def logits_of(net: Net) -> Callable:
    """Return the function logits(parameters, x) of a net, for x [n, h, w, c]; parameters as in net.parameters."""

    def logits(parameters, x):
        for k, layer in enumerate(net.layers):
            weight, bias = parameters.get(f"{k}.weight"), parameters.get(f"{k}.bias")
            match layer:
                case ours.Conv2D():
                    stride = tuple(axis.stride for axis in layer.axes)
                    padding = [(axis.padding, axis.padding) for axis in layer.axes]
                    x = lax.conv_general_dilated(x, weight, stride, padding, dimension_numbers=DIMENSIONS)
                    x = x + bias
                case ours.MaxPool2D():
                    window, stride = (1, *layer.taps, 1), (1, *(axis.stride for axis in layer.axes), 1)
                    x = lax.reduce_window(x, -jnp.inf, lax.max, window, stride, "VALID")
                case ours.Dense():
                    x = x @ weight.T + bias
                case ours.ReLU():
                    x = jnp.maximum(x, 0)
                case ours.Flatten():
                    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        return x

    return logits


def steps(net: Net, images: np.ndarray, labels: np.ndarray, quick: bool) -> dict[str, Callable]:
    """Return {name: training step with momentum}; nothing if `quick` is set, because compilation takes long."""
    if quick:
        return {}
    logits = logits_of(net)

    def loss(parameters, x, y):
        scores = jax.nn.log_softmax(logits(parameters, x))
        return -jnp.take_along_axis(scores, y[:, None], 1).mean()

    def update(parameters, velocities, x, y):
        value, gradients = jax.value_and_grad(loss)(parameters, x, y)
        velocities = jax.tree.map(lambda v, g: 0.9 * v + g, velocities, gradients)
        return jax.tree.map(lambda w, v: w - 0.01 * v, parameters, velocities), velocities, value

    compiled = jax.jit(update, donate_argnums=(0, 1))
    x, y = jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.asarray(labels, jnp.int32)
    parameters = {name: jnp.array(array) for name, array in net.parameters.items()}
    state = [parameters, jax.tree.map(jnp.zeros_like, parameters)]

    def step():
        *state[:], value = compiled(*state, x, y)
        return value.block_until_ready()

    return {"JAX": step}


def predictions(net: Net, images: np.ndarray, quick: bool) -> dict[str, Callable]:
    """Return {name: forward pass}; nothing if `quick` is set."""
    parameters = {name: jnp.array(array) for name, array in net.parameters.items()}
    compiled, x = jax.jit(logits_of(net)), jnp.asarray(images.transpose(0, 2, 3, 1))
    return {} if quick else {"JAX": lambda: np.asarray(compiled(parameters, x))}
