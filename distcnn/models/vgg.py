"""Networks after Simonyan and Zisserman 2015: 3 x 3 convolutions in groups, and a pool behind each group."""

from distcnn.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU


def vgg_small(input_shape, classes):
    """Three pairs of convolutions of 32, 64 and 128 channels, for images of about 32 x 32."""
    return [*_groups([32, 64, 128], [2, 2, 2]), Flatten(), Dense(128), ReLU(), Dense(classes)]


def vgg16(input_shape, classes):
    """Configuration D of the paper: 13 convolutions and 3 dense layers, for images from 32 x 32 on."""
    dense = [Dense(4096), ReLU(), Dropout(0.5)]
    return [*_groups([64, 128, 256, 512, 512], [2, 2, 3, 3, 3]), Flatten(), *dense, *dense, Dense(classes)]


def _groups(channels, depths):
    """Return groups of convolutions, each with so many channels and as deep, a pool behind each."""
    layers = []
    for each, depth in zip(channels, depths, strict=True):
        layers += [Conv2D(each, 3, padding=1), ReLU()] * depth + [MaxPool2D(2)]
    return layers
