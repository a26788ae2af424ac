"""The layers, one noun per file. Arguments have PyTorch's names and meaning; input sizes are inferred."""

from distcnn.layers.base import Layer
from distcnn.layers.conv2d import Conv2D
from distcnn.layers.dense import Dense
from distcnn.layers.flatten import Flatten
from distcnn.layers.maxpool2d import MaxPool2D
from distcnn.layers.relu import ReLU

__all__ = ["Conv2D", "Dense", "Flatten", "Layer", "MaxPool2D", "ReLU"]
