"""The parameters of a net in flat buffers, in declaration order: their ranges, and their initial values."""

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
    """Where in a flat buffer each parameter of a net lies; the running statistics come after all parameters.

    size: the size of the buffer, in numbers.
    trained: how many of these numbers belong to parameters.
    count: how many arrays of parameters there are.
    names: the keys of all arrays, "0.weight", ..., in their order.
    bounds: for each array (start, stop), its range in the buffer.
    spans: for each parameter (start, stop, is_weight): its range in the buffer; is_weight is False for biases and for
        the parameters of norms.
    offsets: for each layer the index in the exact sums, which begin with the counters, from which on the sums of this
        layer and all later layers lie.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        shapes: Sequence[Shape],
        parameter_specs: Specs,
        statistic_specs: Specs,
    ) -> None:
        """Lay out the parameters.

        layers: the layers of the net.
        shapes, parameter_specs, statistic_specs: as `infer_shapes` returns them.
        """
        self._layers, self._shapes = layers, shapes
        parameters, statistics = _listed(parameter_specs), _listed(statistic_specs)
        self._entries, self.count = parameters + statistics, len(parameters)
        self.names = [f"{k}.{name}" for k, name, _ in self._entries]
        sizes = [math.prod(parameter.shape) for _, _, parameter in self._entries]
        ends = list(accumulate(sizes, initial=0))
        self.size, self.trained, self.bounds = ends[-1], ends[self.count], list(pairwise(ends))
        self.spans = [
            (start, stop, parameter.fan_in > 0)
            for (start, stop), (_, _, parameter) in zip(self.bounds, parameters, strict=False)
        ]
        self.offsets = [
            HEAD + sum(size for size, (i, _, _) in zip(sizes, parameters, strict=False) if i < k)
            for k in range(len(layers))
        ]

    def views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Return views of a flat buffer by key, {"0.weight": array, ...}; the index counts all layers."""
        shapes = [parameter.shape for _, _, parameter in self._entries]
        pairs = zip(self.names, shapes, self.bounds, strict=True)
        return {name: flat[start:stop].reshape(shape) for name, shape, (start, stop) in pairs}

    def by_layer(self, views: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Return the arrays of `views` as a list with a dict {name: array} for each layer."""
        found: list[dict[str, np.ndarray]] = [{} for _ in self._layers]
        for (k, name, _), view in zip(self._entries, views.values(), strict=True):
            found[k][name] = view
        return found

    def initialize(self, views: dict[str, np.ndarray], seed: int) -> None:
        """Write the initial values, which depend only on the seed and on the number of each parameter.

        Weights are uniform with the variance of He et al. 2015: 2 / fan_in before a ReLU, 1 / fan_in elsewhere.

        views: the arrays to write, as `views` returns them.
        seed: the seed of the net.
        """
        for number, ((k, _, parameter), view) in enumerate(zip(self._entries, views.values(), strict=True)):
            if parameter.fan_in:
                gain = 2.0 if self._feeds_relu(k) else 1.0
                view[...] = initial_weights(seed, number, parameter.shape, gain / parameter.fan_in)
            else:
                view[...] = parameter.start

    def _feeds_relu(self, k: int) -> bool:
        """Return whether there is a ReLU between layer k and the next layer with weights."""
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
    """Return the initial values of parameter `number`, uniform with mean 0, float64.

    Each value is the center of one of 2**24 equal cells of the interval, chosen by the upper bits of a random word.

    seed: the seed of the net.
    number: the number of the parameter, which selects its random words.
    shape: the shape of the parameter.
    variance: the variance of the values.
    """
    words = random.words(seed, random.WEIGHTS, number, math.prod(shape))
    cells = (words >> np.uint64(40)).astype(np.float64)
    bound = math.sqrt(3.0 * variance)
    return ((cells + 0.5) * 2.0**-23 - 1.0).reshape(shape) * bound
