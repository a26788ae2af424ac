"""The state of a run: everything on which later bits depend, and nothing that depends on the number of ranks."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np

from distcnn.config.tasks import Task, task_of
from distcnn.config.toml import from_toml
from distcnn.errors import CheckpointError
from distcnn.run.training_progress import Best

Shapes = list[tuple[str, tuple[int, ...]]]  # names and shapes of parameters, in declaration order


def _nothing() -> np.ndarray:
    return np.empty(0, np.float32)


@dataclass(eq=False)
class State:
    """The contents of a checkpoint; a run that resumes from it gets the same bits as one that was never interrupted."""

    config_toml: str
    numerics: int
    seed: int
    data_fingerprint: str
    classes: tuple[str, ...]  # the names of the outputs: classes, labels or targets
    input_shape: tuple[int, int, int]  # c, h, w
    mean: np.ndarray  # float32 [c], of the training images
    std: np.ndarray  # float32 [c]
    names_and_shapes: Shapes
    parameters: np.ndarray  # float32, all parameters one after the other
    auxiliary_state: dict[str, np.ndarray]  # optimizer slots and EMA weights by name, each like `parameters`
    epoch: int
    step: int  # finished steps in total
    epoch_sums: tuple[int, int, int]  # of this epoch so far: loss in units of 2**-36, correct, samples
    dtype: str = ""  # says what pixels mean, `Dataset.scale`; "" in checkpoints of early versions
    pictures: str = ""  # how image files became the images, see `picture_record`; "" if that is not known
    network: str = ""  # the layers in their notation; "" in checkpoints of early versions
    user_code: dict[str, str] = field(default_factory=dict)  # SHA-256 of files with layers, by "MODULE:CLASS"
    target_mean: np.ndarray = field(
        default_factory=_nothing
    )  # float32 [outputs], see `network.targets`; [0]: none
    target_std: np.ndarray = field(default_factory=_nothing)
    best: Best | None = None  # the epoch with the best validation result so far
    initial_weights: str = ""  # the SHA-256 of the weights that --init-from gave, "" without it
    digest: str = ""  # of `result`; if empty, it is computed when the state is saved

    @property
    def task(self) -> Task:
        """What the net has learned."""
        return task_of(from_toml(self.config_toml, "the settings of a checkpoint").task)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All flat arrays by their names in checkpoints, the parameters first."""
        return {"parameters": self.parameters} | self.auxiliary_state

    @property
    def result(self) -> np.ndarray:
        """The weights to evaluate and to predict with: the EMA weights if the run has them, else the parameters."""
        return self.auxiliary_state.get("averages", self.parameters)


def digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256, in hex, of the concatenated arrays as little-endian float32."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array, "<f4").data)
    return total.hexdigest()


def require_parameters(state: State, names_and_shapes: Shapes, source: str | Path) -> None:
    """Raise CheckpointError unless the state has exactly these parameters in this order.

    source: the checkpoint that holds the state, for error messages.
    """
    for found, wanted in zip_longest(state.names_and_shapes, names_and_shapes, fillvalue=("nothing", ())):
        if (found[0], tuple(found[1])) != (wanted[0], tuple(wanted[1])):
            raise CheckpointError(
                f"{source}: of another model: has {found[0]} {tuple(found[1])}, wanted {wanted[0]} "
                f"{tuple(wanted[1])}; use the model, image size and classes that it was trained with"
            )


def require_auxiliary_state(state: State, names: Collection[str], source: str | Path) -> None:
    """Raise CheckpointError unless the state's optimizer slots and EMA weights are exactly those named.

    source: the checkpoint that holds the state, for error messages.
    """
    if set(state.auxiliary_state) != set(names):
        found, wanted = (", ".join(sorted(each)) or "nothing" for each in (state.auxiliary_state, names))
        raise CheckpointError(
            f"{source}: the arrays beyond the parameters are {found}, but its settings need {wanted}; "
            f"use another checkpoint"
        )
