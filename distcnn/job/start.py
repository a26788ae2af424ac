"""A net as it is when training begins, in place of the one that the seed gives: what it was trained with stays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distcnn.errors import ConfigError, DataError
from distcnn.training import kept_targets
from distcnn.training.output_names import are_others, listed

if TYPE_CHECKING:
    from distcnn.network.targets import Moments
    from distcnn.training.trainer import Trainer


@dataclass(frozen=True)
class Start:
    """A net to begin with, and what it knows of the images on which it was trained, if it was.

    weights: float32, all parameters in declaration order, then the running statistics.
    input_shape: (c, h, w) of the images for which they are.
    normalization: the mean and the standard deviation of each channel, float32 [c], by which images are normalized;
        None: as the settings say.
    targets: the mean and the standard deviation of each target, float32 [outputs]; None: those of the data.
    classes: the names of classes, labels or targets; () if they are not known.
    pixels: the name of the type that says what pixels mean; "" if that is not known.
    layout: the axes of the arrays in which the images were; None if that is not known.
    """

    weights: np.ndarray
    input_shape: tuple[int, ...]
    normalization: Moments | None = None
    targets: Moments | None = None
    classes: tuple[str, ...] = ()
    pixels: str = ""
    layout: str | None = None

    def begin(self, trainer: Trainer, given: Collection[str]) -> None:
        """Let a trainer begin with this net, and note where its data are far from those of the net.

        given: the names of the settings that the user gives.

        Raises DataError if the images are not those for which the net is, and ConfigError if a setting contradicts it.
        """
        _require_shape(trainer, self)
        if self.pixels:
            _require_pixels(trainer, self.pixels)
        if self.layout and "layout" not in given:
            _require_axes(trainer, self.layout)
        if self.normalization and "normalize" in given:
            _require_same_normalization(trainer.config.normalize, self.normalization)
        trainer.notes += [*_other_outputs(trainer, self.classes), *_far_targets(trainer, self.targets)]
        arrays = trainer.net.shared.layout.views(self.weights)
        trainer.replica.begin_with(arrays, self.normalization, self.targets)


def _require_shape(trainer: Trainer, start: Start) -> None:
    """Raise DataError unless images have the shape that the net takes."""
    shape = trainer.net.input_shape
    if shape != start.input_shape:
        found = f"the images are {shape}, but the net takes {start.input_shape}"
        raise DataError(f"{found}: bring them to its shape, or make another net")


def _require_pixels(trainer: Trainer, pixels: str) -> None:
    """Raise DataError unless pixels mean what they have meant, as the normalization of the net is for those."""
    scale = trainer.dataset.scale
    if scale != pixels:
        found = f"the images are of {scale}, but the net was trained on {pixels}"
        raise DataError(f"{found}, which has another range of values: convert the images")


def _require_axes(trainer: Trainer, layout: str) -> None:
    """Raise DataError if height and width are taken for each other, which only the user knows."""
    found = trainer.dataset.description
    axes = found.first.axes.letters if found else layout
    if _has_rows_first(axes) != _has_rows_first(layout):
        what = f"the images are taken for {axes}, but the net was trained on {layout}"
        raise DataError(f"{what}: say --layout {layout} or --layout {axes}")


def _has_rows_first(layout: str) -> bool:
    return layout.index("H") < layout.index("W")


def _require_same_normalization(setting: str, normalization: Moments) -> None:
    """Raise ConfigError if the user asks for another normalization than that which the net has."""
    mean, std = normalization
    is_none = not mean.any() and bool(np.isin(std, (1, 255)).all())  # what --normalize none gives
    if is_none != (setting == "none"):
        found = "does not normalize its images" if is_none else "normalizes its images already"
        raise ConfigError(
            f"--normalize {setting}: this net {found}, and stays so: leave it out, or make another net"
        )


def _other_outputs(trainer: Trainer, before: tuple[str, ...]) -> list[str]:
    """Return a line if the outputs of the net get other names, else none."""
    now, output = trainer.dataset.classes, trainer.net.task.output
    then = f"the net was trained on {listed(before, output)}, and goes on from there with"
    return [f"{then} {listed(now, output)}"] if are_others(before, now) else []


def _far_targets(trainer: Trainer, kept: Moments | None) -> list[str]:
    """Return a line if the targets of the data are far from what the net has learned, else none."""
    return kept_targets.told(kept, trainer.replica.targets, trainer.dataset.classes) if kept else []
