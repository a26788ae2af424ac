"""LeNet-5 as it is built today."""

from distcnn.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU


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
