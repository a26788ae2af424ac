"""Networks to begin with: fully connected ones, and one hidden layer that is connected in three ways."""

from distcnn.layers import Conv2D, Dense, Flatten, LocallyConnected2D, ReLU


def mlp(input_shape, classes):
    """A fully connected network with 300 and 100 hidden units, as LeCun et al. 1998 compare with."""
    return [Flatten(), Dense(300), ReLU(), Dense(100), ReLU(), Dense(classes)]


def full(input_shape, classes):
    """A hidden layer in which each unit sees the whole image: as many units as in `local`, and the most parameters."""
    return [Flatten(), Dense(_units(input_shape)), ReLU(), Dense(classes)]


def local(input_shape, classes):
    """A hidden layer in which each unit sees 5 x 5 pixels through weights of its own."""
    return [LocallyConnected2D(4, 5, stride=2, padding=2), ReLU(), Flatten(), Dense(classes)]


def convolutional(input_shape, classes):
    """A hidden layer in which each unit sees 5 x 5 pixels through the weights of its map: the fewest parameters."""
    return [Conv2D(4, 5, stride=2, padding=2), ReLU(), Flatten(), Dense(classes)]


def _units(input_shape):
    """Return the hidden units of `local`: four maps of half the image's size."""
    _, h, w = input_shape
    return 4 * ((h + 1) // 2) * ((w + 1) // 2)
