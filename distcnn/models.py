"""Whole networks by name."""

from distcnn.config import suggestion
from distcnn.errors import ConfigError
from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from distcnn.net import Net


def lenet5(input_shape, classes):
    """LeNet-5 (LeCun et al. 1998) as it is built today: ReLU, maximum pooling, softmax.

    Images of 32 x 32 and more as they are; smaller ones, as the 28 x 28 of MNIST, get a border of two zeros.
    """
    padding = 2 if min(input_shape[1:]) < 32 else 0
    return [
        Conv2D(6, 5, padding=padding),
        ReLU(),
        MaxPool2D(2),
        Conv2D(16, 5),
        ReLU(),
        MaxPool2D(2),
        Flatten(),
        Dense(120),
        ReLU(),
        Dense(84),
        ReLU(),
        Dense(classes),
    ]


def vgg_small(input_shape, classes):
    """A small net after Simonyan and Zisserman 2015: three pairs of 3 x 3 convolutions, for images of about 32 x 32."""
    layers = []
    for channels in (32, 64, 128):
        for _ in range(2):
            layers += [Conv2D(channels, 3, padding=1), ReLU()]
        layers.append(MaxPool2D(2))
    return [*layers, Flatten(), Dense(128), ReLU(), Dense(classes)]


MODELS = {"lenet5": lenet5, "vgg-small": vgg_small}


def check(name):
    """Raise ConfigError, with the nearest name, unless there is a model of this name."""
    if name not in MODELS:
        wanted = suggestion(name, MODELS) or f"; wanted one of: {', '.join(MODELS)}"
        raise ConfigError(f"unknown model {name!r}{wanted}")


def build(name, input_shape, classes, seed, conv="winograd"):
    """Return the Net of this name for images of `input_shape` (c, h, w); conv: as in Net.

    Raises ConfigError and NetError.
    """
    check(name)
    return Net(MODELS[name](input_shape, classes), input_shape, seed, conv)
