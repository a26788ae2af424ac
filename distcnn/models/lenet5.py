"""LeNet-5 as it is built today, and with other pooling and activation."""

from distcnn.layers import Conv2D, Dense, Flatten, GaussianPool2D, MaxPool2D, MeanPool2D, ReLU, Sigmoid


def lenet5(input_shape, classes, pool=None, activation=None):
    """LeNet-5 (LeCun et al. 1998) as it is built today: ReLU, maximum pooling, softmax; or with others of these two.

    Images of 32 x 32 and more as they are; smaller ones, as the 28 x 28 of MNIST, get a border of two zeros.
    """
    padding = 2 if min(input_shape[1:]) < 32 else 0
    pool, activation = pool or MaxPool2D(2), activation or ReLU()
    return [
        Conv2D(6, 5, padding=padding),
        activation,
        pool,
        Conv2D(16, 5),
        activation,
        pool,
        Flatten(),
        Dense(120),
        activation,
        Dense(84),
        activation,
        Dense(classes),
    ]


def lenet5_sigmoid(input_shape, classes):
    """LeNet-5 as it is mostly taught: mean pooling and sigmoids."""
    return lenet5(input_shape, classes, MeanPool2D(2), Sigmoid())


def lenet5_gaussian(input_shape, classes):
    """LeNet-5 with overlapping Gaussian windows, of which the last ones reach over the edge of images of 28 x 28."""
    return lenet5(input_shape, classes, GaussianPool2D(3, 1.0, stride=2, ceil_mode=True))
