"""LeNet-5 as it was: LeCun et al. 1998, "Gradient-based learning applied to document recognition"."""

from __future__ import annotations

import numpy as np

from distcnn.layers import Conv2D, Dense, Flatten, RadialBasis, TableConv2D, Tanh, TrainablePool2D
from distcnn.layers.base import Layer
from distcnn.models.base import Model, Shape
from distcnn.numerics import random

# Table I: which maps of S2 each map of C3 sees.
TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# What F6 shall output for each class: a picture of 7 x 12, redrawn after figure 3.
PICTURES = """
..###.. ...#... .#####. .#####. .....#. ####### ..####. ####### .#####. .#####.
.##.##. ..##... ##...## ##...## ....##. #...... .##.... #.....# ##...## ##...##
##...## .###... #.....# ......# ...###. #...... ##..... .....#. #.....# #.....#
#.....# ...#... ......# ......# ..##.#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# .....## .##..#. ######. #...... ....##. ##...## ##....#
#.....# ...#... .....## ..####. ##...#. .....## #.####. ....#.. .#####. .######
#.....# ...#... ....##. .....## #....#. ......# ##...## ...##.. ##...## ......#
#.....# ...#... ...##.. ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... ..##... ......# .....#. ......# #.....# ..##... #.....# ......#
##...## ...#... .##.... ......# .....#. ......# #.....# ..#.... #.....# .....##
.##.##. ...#... ##..... ##...## .....#. ##...## ##...## ..#.... ##...## ....##.
..###.. .#####. ####### .#####. .....#. .#####. .#####. ..#.... .#####. .####..
"""
UNITS = 84
REJECTION = 10.0  # the paper names no number; errors on MNIST after 4 epochs: 10: 1.2 %, 200: 1.6 %


def lenet5_1998(input_shape: Shape, classes: int) -> list[Layer]:
    """Return the layers of the original LeNet-5, with 60,000 parameters.

    It has table I, trainable subsampling, a scaled tanh and radial basis units.
    Images below 32 x 32, as the 28 x 28 of MNIST, get a border of two zeros.
    """
    padding = 2 if min(input_shape[1:]) < 32 else 0
    squash = Tanh(1.7159, 2 / 3)
    return [
        *(Conv2D(6, 5, padding=padding), squash),  # C1
        *(TrainablePool2D(2), squash),  # S2
        *(TableConv2D(TABLE, 5), squash),  # C3
        *(TrainablePool2D(2), squash),  # S4
        *(Conv2D(120, 5), squash),  # C5
        *(Flatten(), Dense(UNITS), squash),  # F6
        RadialBasis(centers(classes), REJECTION),
    ]


def centers(classes: int) -> np.ndarray:
    """Return 1 or -1 for each class and unit, float32 [classes, 84].

    The first ten classes have pictures of digits, further ones random codes.
    """
    rows = [line.split() for line in PICTURES.split("\n") if line]
    pictures = [[1 if dot == "#" else -1 for row in rows for dot in row[k]] for k in range(min(classes, 10))]
    return np.array(pictures + [_code(k) for k in range(10, classes)], np.float32)


def _code(k: int) -> list[int]:
    """Return the random code of class k."""
    words = random.words(0, random.CODES, k, 2)
    return [1 if int(words[j // 64]) >> j % 64 & 1 else -1 for j in range(UNITS)]


MODELS = {"lenet5-1998": Model(lenet5_1998, (1, 28, 28))}
