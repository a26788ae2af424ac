"""Frozen parameters: which layers need no gradients of their own, and what of the flat weights training changes.

A layer is frozen if it has parameters and all of them are frozen. It computes no gradients of its parameters; the
backward pass ends at the first layer with parameters that are not frozen. Running statistics of a frozen layer are
frozen, too. If only some parameters of a layer are frozen, the gradients of these are computed and ignored.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from distcnn.network.parameters import ParameterLayout
from distcnn.numerics.fixed_point import HEAD

Span = tuple[int, int, bool]  # start, stop, whether it is a weight, as in ParameterLayout.spans


class Freezing:
    """What follows from the names of the frozen parameters.

    names: the keys of the frozen parameters.
    layers: for each layer whether it is frozen.
    trains: for each layer whether some of its parameters are not frozen.
    spans: the spans of the parameters that are not frozen, in the flat weights.
    statistics: the ranges of the running statistics that are not frozen, in the flat weights; adjacent ones are one.
    start: where in the exact sums the first span starts; HEAD if no layer before it is frozen.
    """

    def __init__(self, layout: ParameterLayout, layers: int, names: Collection[str] = ()) -> None:
        """Derive all that from the layout of a net with so many layers."""
        self.names = frozenset(names)
        parameters = layout.names[: layout.count]
        own: list[list[str]] = [[] for _ in range(layers)]
        for name in parameters:
            own[_layer(name)].append(name)
        self.layers = [bool(each) and self.names.issuperset(each) for each in own]
        self.trains = [not self.names.issuperset(each) for each in own]
        pairs = zip(parameters, layout.spans, strict=True)
        self.spans = [span for name, span in pairs if name not in self.names]
        self.statistics = self._merged(layout)
        first = self.spans[0][0] if self.spans else layout.trained
        self.start = HEAD + first

    def _merged(self, layout: ParameterLayout) -> list[tuple[int, int]]:
        """Return `statistics`."""
        found: list[tuple[int, int]] = []
        for name, (start, stop) in list(zip(layout.names, layout.bounds, strict=True))[layout.count :]:
            if self.layers[_layer(name)]:
                continue
            if found and found[-1][1] == start:
                start = found.pop()[0]
            found.append((start, stop))
        return found

    def sums(self, views: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the exact sums by name, with arrays that nobody reads in place of those of frozen parameters."""
        return {name: np.zeros_like(view) if name in self.names else view for name, view in views.items()}


def _layer(name: str) -> int:
    """Return the number of the layer in the key of a parameter."""
    return int(name.partition(".")[0])
