"""Residual networks for images of 32 x 32 (He, Zhang, Ren and Sun 2016, section 4.2)."""

from collections.abc import Callable

from distcnn.layers import Add, BatchNorm2D, Conv2D, Dense, Flatten, GlobalMeanPool2D, ReLU, SaveAs
from distcnn.layers.base import Layer
from distcnn.models.base import Model, Shape


def resnet(blocks: int) -> Callable[[Shape, int], list[Layer]]:
    """Return the function that makes the layers of a residual network with 6 * blocks + 2 weighted layers.

    blocks: the number of residual blocks in each of the three stages, which have 16, 32 and 64 channels.
    """

    def layers(input_shape: Shape, classes: int) -> list[Layer]:
        stages: list[Layer] = [*_convolution(16), ReLU()]
        for stage, channels in enumerate((16, 32, 64)):
            for block in range(blocks):
                stages += _residual(f"{stage + 1}.{block + 1}", channels, 2 if stage and not block else 1)
        return [*stages, GlobalMeanPool2D(), Flatten(), Dense(classes)]

    return layers


def _residual(name: str, channels: int, stride: int) -> list[Layer]:
    """Return two convolutions with a skip connection without parameters (A in the paper)."""
    inside = [*_convolution(channels, stride), ReLU(), *_convolution(channels)]
    return [SaveAs(name), *inside, Add(name, stride), ReLU()]


def _convolution(channels: int, stride: int = 1) -> list[Layer]:
    """Return a convolution of 3 x 3 and its batch norm."""
    return [Conv2D(channels, 3, stride, padding=1, bias=False), BatchNorm2D()]


MODELS = {f"resnet{6 * blocks + 2}": Model(resnet(blocks), (3, 32, 32)) for blocks in (3, 5, 9)}
