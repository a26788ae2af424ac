"""Networks after Simonyan and Zisserman 2015: 3 x 3 convolutions in groups, and a pool behind each group."""

from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU


def vgg_small(input_shape, classes):
    """Three pairs of convolutions of 32, 64 and 128 channels, for images of about 32 x 32."""
    layers = []
    for channels in (32, 64, 128):
        for _ in range(2):
            layers += [Conv2D(channels, 3, padding=1), ReLU()]
        layers.append(MaxPool2D(2))
    return [*layers, Flatten(), Dense(128), ReLU(), Dense(classes)]
