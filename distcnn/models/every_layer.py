"""A small network with a layer of every kind, to test a machine, a processor or a change of the kernels."""

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
    RadialBasis,
    ReLU,
    SaveAs,
    Sigmoid,
    SiLU,
    Softmax,
    StartFrom,
    TableConv2D,
    Tanh,
    TrainablePool2D,
)
from distcnn.layers.base import Layer
from distcnn.models.base import Model, Shape
from distcnn.models.lenet5_1998 import REJECTION, UNITS, centers

TABLE = (0, 1), (2, 3, 4), (4, 5), (0, 5)


def every_layer(input_shape: Shape, classes: int) -> list[Layer]:
    """Return layers of all kinds, among them convolutions of all algorithms: `layers/convolution/`."""
    return [
        *(Conv2D(6, 5, padding=2), GELU(), MaxPool2D(2), SaveAs("a")),
        *(Conv2D(6, 3, padding=1, groups=6), BatchNorm2D(), SiLU(), Add("a"), SaveAs("b")),
        *(TableConv2D(TABLE, 1), Sigmoid(), GaussianPool2D(3, 0.8, 2, 1), SaveAs("c")),
        *(StartFrom("b"), Conv2D(6, 3, 2, 2, 2, groups=2, bias=False), Softmax(), MeanPool2D(3, 1, 1)),
        *(Concatenate("c"), Conv2D(16, 3, padding=1), ReLU(), Dropout(0.2)),
        *(LocallyConnected2D(4, 3, 2, 1), Tanh(), TrainablePool2D(2, ceil_mode=True), Conv2D(32, 1)),
        *(GlobalMeanPool2D(), Flatten(), Dense(UNITS), Tanh(), RadialBasis(centers(classes), REJECTION)),
    ]


MODELS = {"every-layer": Model(every_layer, (1, 28, 28))}
