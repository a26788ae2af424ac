"""Simple networks: a fully connected one, and one hidden layer that is connected in three different ways."""

from distcnn.layers import Conv2D, Dense, Flatten, LocallyConnected2D, ReLU
from distcnn.layers.base import Layer
from distcnn.models.base import Model, Shape


def mlp(input_shape: Shape, classes: int) -> list[Layer]:
    """Return a fully connected network with 300 and 100 hidden units, a comparison of LeCun et al. 1998."""
    return [Flatten(), Dense(300), ReLU(), Dense(100), ReLU(), Dense(classes)]


def full(input_shape: Shape, classes: int) -> list[Layer]:
    """Return a hidden layer whose units see the whole image: as many units as in `local`, and the most parameters."""
    return [Flatten(), Dense(_units(input_shape)), ReLU(), Dense(classes)]


def local(input_shape: Shape, classes: int) -> list[Layer]:
    """Return a hidden layer whose units see 5 x 5 pixels, each unit through weights of its own."""
    return [LocallyConnected2D(4, 5, stride=2, padding=2), ReLU(), Flatten(), Dense(classes)]


def convolutional(input_shape: Shape, classes: int) -> list[Layer]:
    """Return a hidden layer whose units see 5 x 5 pixels through the same weights: it has the fewest parameters."""
    return [Conv2D(4, 5, stride=2, padding=2), ReLU(), Flatten(), Dense(classes)]


def _units(input_shape: Shape) -> int:
    """Return the number of hidden units of `local`: four maps, each of half the image's height and width."""
    _, h, w = input_shape
    return 4 * ((h + 1) // 2) * ((w + 1) // 2)


MODELS = {
    "mlp": Model(mlp, (1, 28, 28)),
    "full": Model(full, (1, 28, 28)),
    "local": Model(local, (1, 28, 28)),
    "convolutional": Model(convolutional, (1, 28, 28)),
}
