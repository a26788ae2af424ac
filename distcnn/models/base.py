"""The type of a model; a module of this folder declares `MODELS = {name: Model(...)}`, with the names for --model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from distcnn.layers.base import Layer

Shape = tuple[int, int, int]  # channels, height and width of an image


class Model(NamedTuple):
    """A network, and the images and classes for which it was designed."""

    layers: Callable[[Shape, int], list[Layer]]  # layers(input_shape, classes)
    input_shape: Shape
    classes: int = 10
