"""The data that all workers of a net share: its layers, its parameters in one flat buffer, and the normalization."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from distcnn.config.tasks import TASKS
from distcnn.config.types import CLASSIFY, GLOBAL
from distcnn.errors import NetError
from distcnn.kernels.float_mode import ieee_mode, in_ieee_mode
from distcnn.lanes import aligned
from distcnn.layers.base import Layer
from distcnn.layers.declarations import Shape
from distcnn.network import memory
from distcnn.network.freezing import Freezing
from distcnn.network.parameters import ParameterLayout
from distcnn.network.shapes import as_list, infer_shapes, parameter_counts
from distcnn.network.targets import Targets


class Weights:
    """The layers and parameters of a net.

    layers: the layers.
    shapes: the shapes between the layers, beginning with the shape of the input.
    seed: determines the initial parameters and all random numbers.
    conv: the algorithm of convolutions, as in `Net`.
    norm_group: over how many blocks of sixteen samples batch norms compute their statistics, or "global" for the whole
        batch.
    layout: where each parameter lies.
    flat: float32, all parameters in declaration order, then the running statistics.
    arrays: views of parameters and running statistics by name, {"0.weight": array, "0.bias": ...}. The index counts
        all layers.
    parameters: like `arrays`, without the running statistics.
    scale, shift: (c,) float32; images are multiplied by scale, then shift is added; 1 and 0 until they are set.
    normalization: the mean and the standard deviation of each channel that have set them, or None.
    label_smoothing: the fraction of a training target that is spread evenly over all classes; 0 until it is set.
    task: what the net learns.
    targets: the standardization of targets.
    freezing: which parameters are frozen; none until `freeze` is called.
    class_weights: (classes,) float32, the weight of each class in the training loss; None until it is set.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: Shape,
        seed: int,
        conv: str,
        norm_group: int | str,
        task: str = CLASSIFY,
    ) -> None:
        """Allocate and initialize the parameters; arguments as in `Net`."""
        _check(seed, conv, norm_group, task)
        self.task = TASKS[task]
        self.seed, self.conv, self.norm_group = seed, conv, norm_group
        self.layers = as_list(layers)
        self.shapes, parameter_specs, statistic_specs = infer_shapes(self.layers, input_shape)
        counts = parameter_counts(parameter_specs, statistic_specs)
        memory.require(self.layers, memory.of_net(counts, self.shapes))
        self.layers = [layer.using(conv) for layer in self.layers]
        self.layout = ParameterLayout(self.layers, self.shapes, parameter_specs, statistic_specs)
        self._allocate()
        with ieee_mode():
            self.layout.initialize(self.arrays, seed)
        self.scale, self.shift = np.ones((2, self.shapes[0][0]), np.float32)
        self.shift[:] = 0
        self.normalization: tuple[np.ndarray, np.ndarray] | None = None
        self.label_smoothing = 0.0
        self.class_weights: np.ndarray | None = None
        self.freezing = Freezing(self.layout, len(self.layers))
        self.targets = Targets(self.task, self.shapes[-1][0])

    def _allocate(self) -> None:
        """Allocate the flat buffer, and make the views of it."""
        self.flat = aligned((self.layout.size,))
        self.arrays = self.layout.views(self.flat)
        names = list(self.arrays)[: self.layout.count]
        self.parameters: Mapping[str, np.ndarray] = MappingProxyType({k: self.arrays[k] for k in names})

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle and copy, without the views."""
        return {name: value for name, value in vars(self).items() if name not in ("arrays", "parameters")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._allocate()
        self.flat[:] = state["flat"]

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of `flat` as little-endian float32."""
        return hashlib.sha256(self.flat.astype("<f4").tobytes()).hexdigest()

    def freeze(self, names: Collection[str]) -> None:
        """Freeze parameters, by their keys in `parameters`, before any plan is made."""
        self.freezing = Freezing(self.layout, len(self.layers), names)

    @in_ieee_mode
    def normalize(self, mean: np.ndarray, std: np.ndarray) -> None:
        """Set scale and shift so that they compute (image - mean) / std; mean, std: (c,)."""
        self.normalization = mean, std
        mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        self.scale[:], self.shift[:] = 1 / std, -mean / std


def _check(seed: int, conv: str, norm_group: int | str, task: str) -> None:
    """Raise NetError unless these arguments of `Net` are valid."""
    if task not in TASKS:
        raise NetError(f"task is {task!r}; wanted {', '.join(TASKS)}")
    if conv not in ("winograd", "direct"):
        raise NetError(f"conv is {conv!r}; wanted winograd or direct")
    if norm_group != GLOBAL and not (type(norm_group) is int and norm_group > 0):
        raise NetError(f"norm_group is {norm_group!r}; wanted a whole number from 1, or {GLOBAL!r}")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise NetError(f"seed is {seed!r}; wanted a whole number from 0 to 2**63 - 1")
