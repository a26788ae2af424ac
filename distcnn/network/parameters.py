"""The parameters of a net in flat buffers, in declaration order: where each one lies, and how it starts."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from distcnn.layers.base import Layer
from distcnn.layers.declarations import RELU, Parameter, Shape
from distcnn.network.shapes import Specs
from distcnn.numerics import random
from distcnn.numerics.fixed_point import HEAD


class ParameterLayout:
    """Where the parameters of a chain of layers lie in a flat buffer, and behind them the running statistics.

    size: of the buffer, in numbers.
    trained: how many of these numbers are parameters.
    count: how many parameters there are.
    spans: for each parameter where it begins, where it ends, and whether it is a weight, that is, no bias and not of a
        norm.
    offsets: for each layer where the exact sums of it and all layers behind it begin, counters included.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        shapes: Sequence[Shape],
        parameter_specs: Specs,
        statistic_specs: Specs,
    ) -> None:
        """Lay out the parameters; specs: as `infer_shapes` returns them."""
        self._layers, self._shapes = layers, shapes
        parameters, statistics = _listed(parameter_specs), _listed(statistic_specs)
        self._entries, self.count = parameters + statistics, len(parameters)
        sizes = [math.prod(parameter.shape) for _, _, parameter in self._entries]
        self._bounds = list(accumulate(sizes, initial=0))
        self.size, self.trained = self._bounds[-1], self._bounds[self.count]
        self.spans = [
            (start, stop, parameter.fan_in > 0)
            for (start, stop), (_, _, parameter) in zip(pairwise(self._bounds), parameters, strict=False)
        ]
        self.offsets = [
            HEAD + sum(size for size, (i, _, _) in zip(sizes, parameters, strict=False) if i < k)
            for k in range(len(layers))
        ]

    def views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Return views of a flat buffer by key, {"0.weight": array, ...}; the index counts all layers."""
        pairs = zip(self._entries, pairwise(self._bounds), strict=True)
        return {
            f"{k}.{name}": flat[start:stop].reshape(parameter.shape)
            for (k, name, parameter), (start, stop) in pairs
        }

    def by_layer(self, views: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Return what `views` gives as a dict for each layer."""
        found: list[dict[str, np.ndarray]] = [{} for _ in self._layers]
        for (k, name, _), view in zip(self._entries, views.values(), strict=True):
            found[k][name] = view
        return found

    def initialize(self, views: dict[str, np.ndarray], seed: int) -> None:
        """Write the values with which training starts, a function of the seed and the number of the parameter.

        Weights are uniform with the variance of He et al. 2015: 2 / fan_in before a ReLU, 1 / fan_in elsewhere.
        """
        for number, ((k, _, parameter), view) in enumerate(zip(self._entries, views.values(), strict=True)):
            if parameter.fan_in:
                gain = 2.0 if self._feeds_relu(k) else 1.0
                view[...] = initial_weights(seed, number, parameter.shape, gain / parameter.fan_in)
            else:
                view[...] = parameter.start

    def _feeds_relu(self, k: int) -> bool:
        """Return whether what layer k gives goes through a ReLU before the next layer with weights."""
        for layer, shape in zip(self._layers[k + 1 :], self._shapes[k + 1 :], strict=False):
            if layer.fusion.kind == RELU:
                return True
            if any(parameter.fan_in for parameter in layer.parameters(shape).values()):
                return False
        return False


def _listed(specs: Specs) -> list[tuple[int, str, Parameter]]:
    """Return (layer, name, parameter) of each parameter, in declaration order."""
    return [(k, name, parameter) for k, each in enumerate(specs) for name, parameter in each.items()]


def initial_weights(seed: int, number: int, shape: Shape, variance: float) -> np.ndarray:
    """Return the start of parameter `number`, uniform with mean 0 and the given variance, float64.

    A weight is the middle of one of 2**24 equal cells, chosen by the upper bits of its random word.
    """
    words = random.words(seed, random.WEIGHTS, number, math.prod(shape))
    cells = (words >> np.uint64(40)).astype(np.float64)
    bound = math.sqrt(3.0 * variance)
    return ((cells + 0.5) * 2.0**-23 - 1.0).reshape(shape) * bound
