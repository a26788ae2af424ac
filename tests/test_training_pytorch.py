"""Whole nets compared with PyTorch: ten steps of training from the same weights and batches, compared after each."""

import numpy as np
import pytest

from distcnn import Net, models
from distcnn.config.settings import Config
from distcnn.layers import (
    Add,
    BatchNorm2D,
    Conv2D,
    Dense,
    Flatten,
    GlobalMeanPool2D,
    MaxPool2D,
    ReLU,
    SaveAs,
    SiLU,
    Tanh,
)
from distcnn.network.plan import Block
from distcnn.training.optimizers import SGD
from tests.helpers.arrays import normal

torch = pytest.importorskip("torch", reason="PyTorch is not installed: it belongs to the extra `bench`")

STEPS, CLASSES, MOMENTUM = 10, 10, 0.9
RESNET = (3, 8, 8), 16, 0.01  # one block a batch, as its statistics are ours and PyTorch's then
SEEDS = {"lenet5": 5, "vgg-small": 5, "alexnet": 3}
NETS = {  # input, samples a batch, learning rate
    "lenet5": ((1, 28, 28), 37, 0.05),
    "vgg-small": ((3, 8, 8), 20, 0.02),
    "alexnet": ((1, 63, 63), 5, 0.001),
}


def theirs(layers, parameters, x):
    """Return what PyTorch makes of x with the same layers and parameters {"0.weight": tensor, ...}."""
    f, saved = torch.nn.functional, {}
    for k, layer in enumerate(layers):
        weight, bias = parameters.get(f"{k}.weight"), parameters.get(f"{k}.bias")
        match layer:
            case Conv2D():
                x = f.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
            case Dense():
                x = f.linear(x, weight, bias)
            case ReLU():
                x = f.relu(x)
            case Tanh():
                x = torch.tanh(x)
            case SiLU():
                x = f.silu(x)
            case BatchNorm2D():
                x = f.batch_norm(x, None, None, weight, bias, training=True, eps=layer.eps)
            case GlobalMeanPool2D():
                x = x.mean((2, 3), keepdim=True)
            case SaveAs():
                saved[layer.name] = x
            case Add():
                other = saved[layer.name][:, :, :: layer.stride, :: layer.stride]
                x = x + f.pad(other, (0, 0, 0, 0, 0, x.shape[1] - other.shape[1]))
            case MaxPool2D():
                x = f.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
            case Flatten():
                x = x.flatten(1)
            case _:
                raise NotImplementedError(layer)
    return x


def our_step(net, optimizer, images, labels, rate, step):
    """Train on a batch."""
    n = len(images)
    net.start(-(-n // 16))
    for start in range(0, n, 16):
        net.train_group([Block.of(images, labels, np.arange(start, min(start + 16, n)))])
    optimizer.update(n, rate, step)


def classes_of(n, step):
    return (np.arange(n) * 7 + step) % CLASSES


def answers_of(n, step):
    return (np.arange(n)[:, None] * 7 + np.arange(CLASSES) * 3 + step) % 5 < 2


def targets_of(n, step):
    return 1000 + 30 * normal(n, CLASSES, seed=step)


def standardized(targets):
    return (torch.from_numpy(targets) - MEAN) / STD


MEAN, STD = 1003.0, 31.0
F = torch.nn.functional
TASKS = {  # labels, and PyTorch's loss of outputs and labels
    "classify": (classes_of, lambda z, y: F.cross_entropy(z, torch.from_numpy(y))),
    "multilabel": (
        answers_of,
        lambda z, y: F.binary_cross_entropy_with_logits(z, torch.from_numpy(y).float()),
    ),
    "regress": (targets_of, lambda z, y: F.mse_loss(z, standardized(y))),
}


def distances(layers, shape, n, rate, anew=False, seed=0, task="classify"):
    """Yield after each of ten steps how far PyTorch's weights are from ours, relative to their norm.

    With `anew`, PyTorch begins each step with our weights and velocities, so that distances do not add up.
    """
    labels_of, their_loss = TASKS[task]
    net = Net(layers, shape, seed=seed, task=task)
    net.targets.set([MEAN] * CLASSES, [STD] * CLASSES)
    optimizer = SGD(net, Config(momentum=MOMENTUM, weight_decay=0.0))
    tensors = {key: torch.from_numpy(view.copy()).requires_grad_() for key, view in net.parameters.items()}
    their_optimizer = torch.optim.SGD(tensors.values(), rate, MOMENTUM)
    begin, norm = net.weights[: net.trained].copy(), np.linalg.norm
    for step in range(STEPS):
        images, labels = normal(n, *shape, seed=100 * seed + step), labels_of(n, step)
        if anew and step:
            update(net, optimizer, tensors, their_optimizer)
        our_step(net, optimizer, images, labels, rate, step + 1)
        their_optimizer.zero_grad()
        their_loss(theirs(layers, tensors, torch.from_numpy(images)), labels).backward()
        their_optimizer.step()
        wanted = np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors.values()])
        distance = norm(net.weights[: net.trained] - wanted) / norm(wanted)
        print(f"step {step + 1}: {distance:.1e}")
        yield distance
    assert norm(wanted - begin) > 1e-3 * norm(wanted)  # and they have moved


def update(net, optimizer, tensors, their_optimizer):
    """Give PyTorch our weights and velocities."""
    start = 0
    for (key, tensor), (_, stop, _) in zip(tensors.items(), net.spans, strict=True):
        velocity = optimizer.arrays["velocities"][start:stop].reshape(tensor.shape)
        tensor.data.copy_(torch.from_numpy(net.parameters[key]))
        their_optimizer.state[tensor]["momentum_buffer"].copy_(torch.from_numpy(velocity))
        start = stop


def layers_of(name, shape):
    """Return a model's layers, but for those whose randomness is ours."""
    return [layer for layer in models.MODELS[name].layers(shape, CLASSES) if not layer.training_only]


@pytest.mark.parametrize("name", NETS)
def test_ten_steps(name):
    """Weights stay within 1e-5 of each other, relative to their norm, for most seeds.

    A fault would show with every seed. With one in some, a value lies within rounding of 0, or of its neighbor in a
    window, and its gradient takes another path; PyTorch's own rounding, and so the seed, depends on the processor.
    """
    shape, n, rate = NETS[name]
    layers = layers_of(name, shape)
    farthest = [max(distances(layers, shape, n, rate, seed=seed)) for seed in range(SEEDS[name])]
    assert np.median(farthest) <= 1e-5


def test_ten_steps_of_a_smooth_resnet():
    """With a derivative that does not jump, weights stay together through 20 norms: 4e-7 after ten steps."""
    layers = [SiLU() if isinstance(layer, ReLU) else layer for layer in layers_of("resnet20", RESNET[0])]
    for distance in distances(layers, *RESNET):
        assert distance <= 1e-6


def test_ten_single_steps_of_resnet20():
    """Each step is the same, to 3e-8, but where one value lies so near 0 that ReLU's derivative is 0 here and 1 there.

    Such a step differs by up to 1e-5, and the next ones by more: after ten, weights may differ by 1e-3 without a fault.
    It happens to PyTorch itself: at 32 x 32, with more values, its float32 is 4e-6 from its float64 after one step and
    6e-4 after ten, as ours is. Where it does not happen (8 x 8, conv="direct"), both stay within 9e-8 of float64.
    """
    found = list(distances(layers_of("resnet20", RESNET[0]), *RESNET, anew=True))
    assert np.median(found) <= 1e-7
    assert max(found) <= 1e-4


@pytest.mark.parametrize("task", TASKS)
def test_ten_steps_of_each_task(task):
    """With PyTorch's losses and their mean over all outputs; 2e-7 after ten steps."""
    layers = [Conv2D(6, 3), SiLU(), Flatten(), Dense(20), Tanh(), Dense(CLASSES)]
    for distance in distances(layers, (1, 8, 8), 37, 0.3, task=task):
        assert distance <= 1e-6
