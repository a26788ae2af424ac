"""The layers, one per file. Arguments have the names and meaning of PyTorch's; input sizes are inferred.

To add a layer, write a new file, which may also hold the layer's kernels, and add an import here.
"""

from distcnn.layers.base import Layer as Layer
from distcnn.layers.batchnorm2d import BatchNorm2D as BatchNorm2D
from distcnn.layers.branches import Add as Add
from distcnn.layers.branches import Concatenate as Concatenate
from distcnn.layers.branches import SaveAs as SaveAs
from distcnn.layers.branches import StartFrom as StartFrom
from distcnn.layers.convolution.conv2d import Conv2D as Conv2D
from distcnn.layers.convolution.tableconv2d import TableConv2D as TableConv2D
from distcnn.layers.dense import Dense as Dense
from distcnn.layers.dropout import Dropout as Dropout
from distcnn.layers.flatten import Flatten as Flatten
from distcnn.layers.gaussianpool2d import GaussianPool2D as GaussianPool2D
from distcnn.layers.gelu import GELU as GELU
from distcnn.layers.locallyconnected2d import LocallyConnected2D as LocallyConnected2D
from distcnn.layers.maxpool2d import MaxPool2D as MaxPool2D
from distcnn.layers.meanpool2d import GlobalMeanPool2D as GlobalMeanPool2D
from distcnn.layers.meanpool2d import MeanPool2D as MeanPool2D
from distcnn.layers.radialbasis import RadialBasis as RadialBasis
from distcnn.layers.relu import ReLU as ReLU
from distcnn.layers.sigmoid import Sigmoid as Sigmoid
from distcnn.layers.silu import SiLU as SiLU
from distcnn.layers.softmax import Softmax as Softmax
from distcnn.layers.tanh import Tanh as Tanh
from distcnn.layers.trainablepool2d import TrainablePool2D as TrainablePool2D

__all__ = sorted(
    name for name, each in globals().items() if isinstance(each, type) and issubclass(each, Layer)
)
