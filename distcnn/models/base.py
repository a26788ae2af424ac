"""What a module of this folder declares: `MODELS = {name: Model(...)}`, its networks by the names of --model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from distcnn.layers.base import Layer

Shape = tuple[int, int, int]  # channels, height and width of an image


class Model(NamedTuple):
    """A network, and what it was designed for."""

    layers: Callable[[Shape, int], list[Layer]]  # from the shape of images and the number of classes
    input_shape: Shape
    classes: int = 10
