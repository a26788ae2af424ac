"""LeNet-5 as it is built today, and variants with other pooling and activation."""

from distcnn.layers import Conv2D, Dense, Flatten, GaussianPool2D, MaxPool2D, MeanPool2D, ReLU, Sigmoid
from distcnn.layers.base import Layer
from distcnn.models.base import Model, Shape


def lenet5(
    input_shape: Shape, classes: int, pool: Layer | None = None, activation: Layer | None = None
) -> list[Layer]:
    """Return the layers of LeNet-5 (LeCun et al. 1998) as it is built today.

    Images below 32 x 32, such as MNIST's of 28 x 28, are padded by two zeros on each side.

    pool: the pooling layer; None for maximum pooling.
    activation: the activation layer; None for ReLU.
    """
    padding = 2 if min(input_shape[1:]) < 32 else 0
    pool, activation = pool or MaxPool2D(2), activation or ReLU()
    return [
        *(Conv2D(6, 5, padding=padding), activation, pool),
        *(Conv2D(16, 5), activation, pool),
        *(Flatten(), Dense(120), activation),
        *(Dense(84), activation, Dense(classes)),
    ]


def lenet5_sigmoid(input_shape: Shape, classes: int) -> list[Layer]:
    """Return the layers of LeNet-5 as it is mostly taught, with mean pooling and sigmoids."""
    return lenet5(input_shape, classes, MeanPool2D(2), Sigmoid())


def lenet5_gaussian(input_shape: Shape, classes: int) -> list[Layer]:
    """Return the layers of LeNet-5 with overlapping Gaussian pooling windows, which extend beyond 28 x 28 pixels."""
    return lenet5(input_shape, classes, GaussianPool2D(3, 1.0, stride=2, ceil_mode=True))


MODELS = {
    "lenet5": Model(lenet5, (1, 28, 28)),
    "lenet5-sigmoid": Model(lenet5_sigmoid, (1, 28, 28)),
    "lenet5-gaussian": Model(lenet5_gaussian, (1, 28, 28)),
}
