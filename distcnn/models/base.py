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


class Network(NamedTuple):
    """The layers of one network, for images of one shape and one number of classes.

    text: the layers in the notation of `models.notation`.
    layers: the layers.
    user_code: the SHA-256, in hex, of the file of each class of layers that is the user's own, by "MODULE:CLASS".
    """

    text: str
    layers: list[Layer]
    user_code: dict[str, str]
