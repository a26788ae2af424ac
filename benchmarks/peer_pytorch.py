"""The peer PyTorch, on one thread: eager, in both memory layouts; and compiled, for peer_compiled.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from distcnn import layers as ours

if TYPE_CHECKING:
    import numpy as np

    from distcnn.layers.base import Layer
    from distcnn.layers.declarations import Shape
    from distcnn.layers.window2d import Window2D
    from distcnn.network.net import Net

torch.set_num_threads(1)
LAYOUTS = {"PyTorch": torch.contiguous_format, "PyTorch channels_last": torch.channels_last}


def windows(layer: Window2D) -> dict[str, tuple[int, int]]:
    """Return PyTorch's arguments for the windows of a layer."""
    names = "kernel_size", "stride", "padding"
    return {name: tuple(getattr(axis, name) for axis in layer.axes) for name in names}


def torch_layer(layer: Layer, shape: Shape) -> nn.Module:
    """Return the PyTorch layer that computes the same as one of ours, for an input of `shape`, without samples."""
    match layer:
        case ours.Conv2D():
            return nn.Conv2d(shape[0], layer.out_channels, **windows(layer))
        case ours.MaxPool2D():
            return nn.MaxPool2d(**windows(layer))
        case ours.MeanPool2D():
            return nn.AvgPool2d(**windows(layer))
        case ours.Dense():
            return nn.Linear(shape[0], layer.out_features)
        case ours.BatchNorm2D():
            return nn.BatchNorm2d(shape[0])
        case ours.ReLU():
            return nn.ReLU()
        case ours.Tanh():
            return nn.Tanh()
        case ours.Flatten():
            return nn.Flatten()


def torch_net(net: Net) -> nn.Module:
    """Return a PyTorch net with the same layers as one of ours, and a copy of its weights."""
    made = nn.Sequential(*(torch_layer(*pair) for pair in zip(net.layers, net.shapes, strict=False)))
    made.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in net.parameters.items()})
    return made


def steps(net: Net, images: np.ndarray, labels: np.ndarray, quick: bool) -> dict[str, Callable]:
    """Return {name: training step with momentum}, one for each memory layout."""
    images, labels = torch.from_numpy(images), torch.from_numpy(labels).long()
    return {name: _step(torch_net(net), images, labels, layout) for name, layout in LAYOUTS.items()}


def compiled_step(net: Net, images: np.ndarray, labels: np.ndarray) -> Callable:
    """Return the compiled training step."""
    return _step(torch_net(net), torch.from_numpy(images), torch.from_numpy(labels).long(), None)


def _step(model, images, labels, layout):
    if layout:
        model, images = model.to(memory_format=layout), images.contiguous(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    cross_entropy = nn.CrossEntropyLoss()

    def forward(x, y):
        return cross_entropy(model(x), y)

    forward = forward if layout else torch.compile(forward)

    def step():
        optimizer.zero_grad()
        loss = forward(images, labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def predictions(net: Net, images: np.ndarray, quick: bool) -> dict[str, Callable]:
    """Return {name: forward pass}, one for each memory layout."""
    images, calls = torch.from_numpy(images), {}
    for name, layout in LAYOUTS.items():
        model, x = torch_net(net).eval().to(memory_format=layout), images.contiguous(memory_format=layout)
        calls[name] = _without_gradients(model, x)
    return calls


def compiled_prediction(net: Net, images: np.ndarray) -> Callable:
    """Return the compiled forward pass."""
    return _without_gradients(torch.compile(torch_net(net).eval()), torch.from_numpy(images))


def _without_gradients(model, images):
    def predict():
        with torch.inference_mode():
            return model(images).numpy()

    return predict


def directions(layer: Layer, shape: Shape, samples: int) -> dict[str, dict[str, Callable]]:
    """Return {name: {direction: call}} of one convolution or dense layer, one for each memory layout."""
    make = _convolution if isinstance(layer, ours.Conv2D) else _dense
    layouts = LAYOUTS if isinstance(layer, ours.Conv2D) else {"PyTorch": torch.contiguous_format}
    return {name: make(layer, shape, samples, layout) for name, layout in layouts.items()}


def _convolution(layer, shape, samples, layout):
    made = torch_layer(layer, shape).to(memory_format=layout)
    x = torch.randn(samples, *shape).contiguous(memory_format=layout)
    with torch.no_grad():
        dy = torch.randn_like(made(x))

    def forward():
        with torch.no_grad():
            made(x)

    def backward(*wanted):
        rest = [layer.out_channels], made.stride, made.padding, [1, 1], False, [0, 0], 1, list(wanted)
        torch.ops.aten.convolution_backward(dy, x, made.weight.detach(), *rest)

    return {
        "forward": forward,
        "dx": lambda: backward(True, False, False),
        "dW": lambda: backward(False, True, False),
    }


def _dense(layer, shape, samples, layout):
    made = torch_layer(layer, shape).requires_grad_(False)
    x, dy = torch.randn(samples, *shape), torch.randn(samples, layer.out_features)
    return {"forward": lambda: made(x), "dx": lambda: dy @ made.weight, "dW": lambda: dy.T @ x}


def layers(layer: Layer, shape: Shape, samples: int) -> dict[str, Callable]:
    """Return {name: call of both passes} of one layer in training, one for each memory layout."""
    made = {name: torch_layer(layer, shape) for name in LAYOUTS}
    return {name: _forward_and_backward(made[name], shape, samples, LAYOUTS[name]) for name in LAYOUTS}


def _forward_and_backward(made, shape, samples, layout):
    made = made.to(memory_format=layout)
    x = torch.randn(samples, *shape)
    x = (x.contiguous(memory_format=layout) if len(shape) == 3 else x).requires_grad_()
    dy = torch.randn_like(made(x).detach())
    wanted = [x, *made.parameters()]

    def run():
        torch.autograd.grad(made(x), wanted, dy)

    return run
