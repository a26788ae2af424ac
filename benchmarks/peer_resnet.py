"""The peer of cifar.py: train ResNet-20 (He et al. 2016) by PyTorch, as `distcnn.train --augment crop=4,flip` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    import numpy as np

    from distcnn.config.settings import Config
    from distcnn.data.dataset import Dataset

LARGEST = 500  # images that are evaluated at a time


class Residual(nn.Module):
    """A residual block: two convolutions, and a shortcut without parameters (A in the paper)."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            *(*convolution(before, channels, stride), nn.ReLU(), *convolution(channels, channels, 1))
        )
        self.stride, self.missing = stride, channels - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return torch.relu(self.inside(x) + nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.missing)))


def convolution(before: int, channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """Return a convolution and its norm."""
    return nn.Conv2d(before, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels)


def resnet20(classes: int) -> nn.Module:
    """Return ResNet-20, initialized like ours (He et al. 2015)."""
    layers, before = [*convolution(3, 16, 1), nn.ReLU()], 16
    for channels in (16, 32, 64):
        for _ in range(3):
            layers.append(Residual(before, channels, 1 if channels == before else 2))
            before = channels
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            linear = isinstance(layer, nn.Linear)
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if linear else "relu")
    nn.init.zeros_(net[-1].bias)
    return net


def cropped_and_flipped(images: torch.Tensor, border: int) -> torch.Tensor:
    """Return a random crop of each image, after padding it with `border` zeros; mirror half of the images.

    images: [n, c, h, w].
    """
    n, _, h, w = images.shape
    wide = nn.functional.pad(images, (border,) * 4)
    rows = torch.randint(2 * border + 1, (n, 1)) + torch.arange(h)
    columns = torch.randint(2 * border + 1, (n, 1)) + torch.arange(w)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    return wide[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def train(
    dataset: Dataset,
    mean: np.ndarray,
    std: np.ndarray,
    config: Config,
    rate_of: Callable[[int], float],
    border: int,
) -> float:
    """Train, and return the accuracy on the test images.

    dataset: the dataset.
    mean, std: (c,), for the normalization of images.
    config: the settings of distcnn.
    rate_of: a function that returns the learning rate of a step.
    border: how many zeros to add around images for crops.
    """
    torch.set_num_threads(1)
    torch.manual_seed(config.seed)
    (images, labels), test = (
        (normalized(split.images, mean, std), torch.from_numpy(split.labels.copy()).long())
        for split in (dataset.train, dataset.test)
    )
    net, step = resnet20(len(dataset.classes)), 0
    settings = {"momentum": config.momentum, "weight_decay": config.weight_decay}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0, **settings)
    for _ in range(config.epochs):
        for batch in torch.randperm(len(images)).split(config.batch_size):
            optimizer.param_groups[0]["lr"] = rate_of(step)
            optimizer.zero_grad()
            logits = net(cropped_and_flipped(images[batch], border))
            nn.functional.cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
            step += 1
    return accuracy(net.eval(), *test)


def normalized(images: np.ndarray, mean: np.ndarray, std: np.ndarray) -> torch.Tensor:
    """Return uint8 images as normalized float32."""
    mean, std = (torch.as_tensor(each, dtype=torch.float32)[:, None, None] for each in (mean, std))
    return torch.from_numpy(images.copy()).float().sub_(mean).div_(std)


@torch.inference_mode()
def accuracy(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the fraction of the images that the net classifies correctly."""
    pairs = zip(images.split(LARGEST), labels.split(LARGEST), strict=True)
    return sum((net(x).argmax(1) == y).sum().item() for x, y in pairs) / len(labels)
