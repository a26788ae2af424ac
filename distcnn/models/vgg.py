"""Nets of 3 x 3 convolutions, after Simonyan and Zisserman 2015."""

from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU


def vgg_small(input_shape, classes):
    """A small net after Simonyan and Zisserman 2015: three pairs of 3 x 3 convolutions, for images of about 32 x 32."""
    layers = []
    for channels in (32, 64, 128):
        for _ in range(2):
            layers += [Conv2D(channels, 3, padding=1), ReLU()]
        layers.append(MaxPool2D(2))
    return [*layers, Flatten(), Dense(128), ReLU(), Dense(classes)]
