"""PyTorch's side of the benchmarks: the same layers and nets, one thread, in both of its memory layouts."""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import torch
from torch import nn

from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU

torch.set_num_threads(1)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
VERSION = torch.__version__


def twin(layer, shape):
    """Return PyTorch's version of a layer whose input has `shape` (without samples)."""
    match layer:
        case Conv2D():
            return nn.Conv2d(shape[0], layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
        case MaxPool2D():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
        case Dense():
            return nn.Linear(shape[0], layer.out_features)
        case ReLU():
            return nn.ReLU()
        case Flatten():
            return nn.Flatten()


def step(net, batch_size, layout):
    """Return a function that does one training step of the same net, on a batch that is ready in memory."""
    theirs = nn.Sequential(*(twin(*pair) for pair in zip(net.layers, net.shapes, strict=False)))
    theirs = theirs.to(memory_format=layout)
    images = torch.randn(batch_size, *net.input_shape).contiguous(memory_format=layout)
    labels = torch.randint(0, net.shapes[-1][0], (batch_size,))
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9)
    loss = nn.CrossEntropyLoss()

    def run():
        optimiser.zero_grad()
        loss(theirs(images), labels).backward()
        optimiser.step()

    return run


def convolution(layer, shape, batch_size, layout):
    """Return functions for the forward pass and for the gradients of data and weights of one convolution."""
    made = twin(layer, shape).to(memory_format=layout)
    x = torch.randn(batch_size, *shape).contiguous(memory_format=layout)
    with torch.no_grad():
        dy = torch.randn_like(made(x))

    def forward():
        with torch.no_grad():
            made(x)

    def backward(*wanted):
        stride, padding = [layer.stride] * 2, [layer.padding] * 2
        rest = [layer.out_channels], stride, padding, [1, 1], False, [0, 0], 1, list(wanted)
        torch.ops.aten.convolution_backward(dy, x, made.weight.detach(), *rest)

    return {
        "forward": forward,
        "dx": lambda: backward(True, False, False),
        "dW": lambda: backward(False, True, False),
    }
