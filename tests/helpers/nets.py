"""Small networks that together hold every kind of layer."""

from distcnn import Net
from distcnn.layers import (
    GELU,
    Add,
    BatchNorm2D,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianPool2D,
    GlobalMeanPool2D,
    LocallyConnected2D,
    MaxPool2D,
    MeanPool2D,
    ReLU,
    SaveAs,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
    TrainablePool2D,
)


def small_net():
    """Return a net of the layers that all nets have."""
    convolutions = [Conv2D(3, 3, padding=1), ReLU(), MaxPool2D(2), Conv2D(4, 3), ReLU()]
    return Net([*convolutions, Flatten(), Dense(5), ReLU(), Dense(3)], (2, 8, 8), seed=3)


PLAIN = small_net().layers
OTHERS = [  # layers of all other kinds
    *(LocallyConnected2D(3, 3, padding=1), Sigmoid(), MeanPool2D(2), Tanh()),
    *(GaussianPool2D(2, 0.7, 1), SaveAs("a"), Dropout(0.9), BatchNorm2D(), Add("a")),
    *(TrainablePool2D(1), Concatenate("a"), Softmax(), GlobalMeanPool2D(), Flatten()),
    *(Sigmoid(), SiLU(), GELU(), Tanh(), Dropout(0.9), Softmax(), Dense(3)),
]
# The smallest images that these models take, where they are larger than those of the other models.
SMALLEST = {"vgg16": (3, 32, 32), "alexnet": (1, 63, 63)}
