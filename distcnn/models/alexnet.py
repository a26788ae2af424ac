"""AlexNet, the network of Krizhevsky, Sutskever and Hinton that won the ImageNet competition of 2012."""

from distcnn.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from distcnn.layers.base import Layer
from distcnn.models.base import Model, Shape


def alexnet(input_shape: Shape, classes: int) -> list[Layer]:
    """Return the layers of AlexNet in one tower (Krizhevsky 2014), as in torchvision; for images of at least 63 x 63.

    The paper of 2012 splits some layers between two GPUs, which is Conv2D(256, 5, padding=2, groups=2) here.
    """
    return [
        *(Conv2D(64, 11, stride=4, padding=2), ReLU(), MaxPool2D(3, 2)),
        *(Conv2D(192, 5, padding=2), ReLU(), MaxPool2D(3, 2)),
        *(Conv2D(384, 3, padding=1), ReLU()),
        *(Conv2D(256, 3, padding=1), ReLU()),
        *(Conv2D(256, 3, padding=1), ReLU(), MaxPool2D(3, 2)),
        *(Flatten(), Dropout(0.5), Dense(4096), ReLU()),
        *(Dropout(0.5), Dense(4096), ReLU(), Dense(classes)),
    ]


MODELS = {"alexnet": Model(alexnet, (3, 224, 224), 1000)}
