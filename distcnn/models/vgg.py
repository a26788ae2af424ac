"""Networks after Simonyan and Zisserman 2015: 3 x 3 convolutions in groups, and a pool after each group."""

from distcnn.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from distcnn.layers.base import Layer
from distcnn.models.base import Model, Shape


def vgg_small(input_shape: Shape, classes: int) -> list[Layer]:
    """Return three pairs of convolutions of 32, 64 and 128 channels and two dense layers; for images near 32 x 32."""
    return [*_groups([32, 64, 128], [2, 2, 2]), Flatten(), Dense(128), ReLU(), Dense(classes)]


def vgg16(input_shape: Shape, classes: int) -> list[Layer]:
    """Return configuration D of the paper: 13 convolutions and 3 dense layers, for images of at least 32 x 32."""
    dense = [Dense(4096), ReLU(), Dropout(0.5)]
    return [*_groups([64, 128, 256, 512, 512], [2, 2, 3, 3, 3]), Flatten(), *dense, *dense, Dense(classes)]


def _groups(channels: list[int], depths: list[int]) -> list[Layer]:
    """Return groups of convolutions, each followed by a pool.

    channels: the number of channels in each group.
    depths: the number of convolutions in each group.
    """
    layers: list[Layer] = []
    for each, depth in zip(channels, depths, strict=True):
        layers += [Conv2D(each, 3, padding=1), ReLU()] * depth + [MaxPool2D(2)]
    return layers


MODELS = {
    "vgg-small": Model(vgg_small, (3, 32, 32)),
    "vgg16": Model(vgg16, (3, 224, 224), 1000),
}
