"""The layers, one noun per file. Arguments have PyTorch's names and meaning; input sizes are inferred."""

from distcnn.layers.base import Layer
from distcnn.layers.batchnorm2d import BatchNorm2D
from distcnn.layers.branches import Add, Concatenate, SaveAs, StartFrom
from distcnn.layers.convolution.conv2d import Conv2D
from distcnn.layers.convolution.tableconv2d import TableConv2D
from distcnn.layers.dense import Dense
from distcnn.layers.dropout import Dropout
from distcnn.layers.flatten import Flatten
from distcnn.layers.gaussianpool2d import GaussianPool2D
from distcnn.layers.gelu import GELU
from distcnn.layers.locallyconnected2d import LocallyConnected2D
from distcnn.layers.maxpool2d import MaxPool2D
from distcnn.layers.meanpool2d import GlobalMeanPool2D, MeanPool2D
from distcnn.layers.radialbasis import RadialBasis
from distcnn.layers.relu import ReLU
from distcnn.layers.sigmoid import Sigmoid
from distcnn.layers.silu import SiLU
from distcnn.layers.softmax import Softmax
from distcnn.layers.tanh import Tanh
from distcnn.layers.trainablepool2d import TrainablePool2D

__all__ = [
    "GELU",
    "Add",
    "BatchNorm2D",
    "Concatenate",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GaussianPool2D",
    "GlobalMeanPool2D",
    "Layer",
    "LocallyConnected2D",
    "MaxPool2D",
    "MeanPool2D",
    "RadialBasis",
    "ReLU",
    "SaveAs",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "StartFrom",
    "TableConv2D",
    "Tanh",
    "TrainablePool2D",
]
