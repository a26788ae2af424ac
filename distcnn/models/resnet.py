"""Residual networks for images of 32 x 32 (He, Zhang, Ren and Sun 2016, section 4.2)."""

from distcnn.layers import Add, BatchNorm2D, Conv2D, Dense, Flatten, GlobalMeanPool2D, ReLU, SaveAs


def resnet(blocks):
    """Return the network of 6 * blocks + 2 layers: three stages of 16, 32 and 64 channels."""

    def layers(input_shape, classes):
        stages = [_convolution(16), ReLU()]
        for stage, channels in enumerate((16, 32, 64)):
            for block in range(blocks):
                stages += _residual(f"{stage + 1}.{block + 1}", channels, 2 if stage and not block else 1)
        return [*_flat(stages), GlobalMeanPool2D(), Flatten(), Dense(classes)]

    return layers


def _residual(name, channels, stride):
    """Two convolutions beside a shortcut without parameters (A in the paper)."""
    inside = _convolution(channels, stride), ReLU(), _convolution(channels)
    return [SaveAs(name), *inside, Add(name, stride), ReLU()]


def _convolution(channels, stride=1):
    return [Conv2D(channels, 3, stride, padding=1, bias=False), BatchNorm2D()]


def _flat(parts):
    """Return a list of layers and of lists of layers as one list."""
    return [layer for part in parts for layer in (part if isinstance(part, list) else [part])]
