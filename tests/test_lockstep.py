"""Whole nets beside PyTorch: ten steps of training from the same weights and batches, compared after each."""

import numpy as np
import pytest
from test_layers import normal

from distcnn import models
from distcnn.config import Config
from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distcnn.optim import Momentum
from distcnn.plan import Block

torch = pytest.importorskip("torch", reason="PyTorch is not installed: it belongs to the extra `bench`")

STEPS, CLASSES, MOMENTUM = 10, 10, 0.9
NETS = {  # input, samples a batch, learning rate
    "lenet5": ((1, 28, 28), 37, 0.05),
    "vgg-small": ((3, 16, 16), 20, 0.02),
    "alexnet": ((1, 63, 63), 5, 0.001),
}


def theirs(layers, parameters, x):
    """Return what PyTorch makes of x with the same layers and parameters {"0.weight": tensor, ...}."""
    f = torch.nn.functional
    for k, layer in enumerate(layers):
        weight, bias = parameters.get(f"{k}.weight"), parameters.get(f"{k}.bias")
        match layer:
            case Conv2D():
                x = f.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
            case Dense():
                x = f.linear(x, weight, bias)
            case ReLU():
                x = f.relu(x)
            case MaxPool2D():
                x = f.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
            case Flatten():
                x = x.flatten(1)
            case _:
                raise NotImplementedError(layer)
    return x


def our_step(net, optimiser, images, labels, rate, step):
    """Train on a batch."""
    n = len(images)
    net.start(-(-n // 16))
    for start in range(0, n, 16):
        net.train_block(Block.of(images, labels, np.arange(start, min(start + 16, n))))
    optimiser.update(n, rate, step)


@pytest.mark.parametrize("name", NETS)
def test_ten_steps(name):
    """Weights stay within 1e-5 of each other, relative to their norm."""
    shape, n, rate = NETS[name]
    layers = [layer for layer in models.MODELS[name].layers(shape, CLASSES) if not layer.training_only]
    net = models.Net(layers, shape, seed=1)
    optimiser = Momentum(net, Config(momentum=MOMENTUM, weight_decay=0.0))
    twins = {key: torch.from_numpy(view.copy()).requires_grad_() for key, view in net.parameters.items()}
    their_optimiser = torch.optim.SGD(twins.values(), rate, MOMENTUM)
    begin = net.weights[: net.trained].copy()
    for step in range(STEPS):
        images, labels = normal(n, *shape, seed=step), (np.arange(n) * 7 + step) % CLASSES
        our_step(net, optimiser, images, labels, rate, step + 1)
        their_optimiser.zero_grad()
        logits = theirs(layers, twins, torch.from_numpy(images))
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
        their_optimiser.step()
        wanted = np.concatenate([twin.detach().numpy().ravel() for twin in twins.values()])
        ours, norm = net.weights[: net.trained], np.linalg.norm(wanted)
        print(f"step {step + 1}: {np.linalg.norm(ours - wanted) / norm:.1e}")
        assert np.linalg.norm(ours - wanted) <= 1e-5 * norm, step
    assert np.linalg.norm(wanted - begin) > 1e-2 * norm  # and they have gone some way
