"""Notice images whose values are on another scale than those on which a net was trained, such as 0 to 1 for 0 to 255.

Bytes have one scale. Of floats and wider integers, only the statistics that a checkpoint holds say what was usual.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.config.toml import from_toml
from distcnn.parallel.collective import on_root
from distcnn.parallel.comm import Comm
from distcnn.run.state import State
from distcnn.system.terminal_text import warn

SEEN = 64  # images, at equal distances, that are looked at
FAR = 100  # so many times darker or brighter are no images on one scale; 255 and 65535 are what is usually forgotten


def warn_of_scale(comm: Comm, name: str, images: Any, state: State, where: str | Path) -> None:
    """Warn, on rank 0, of images on another scale than those of the training. Collective; see `scale_problem`."""
    problem = on_root(comm, scale_problem, name, images, state, where)
    if problem and comm.rank == 0:
        warn(problem)


def scale_problem(name: str, images: Any, state: State, where: str | Path) -> str | None:
    """Return a line on images whose values are on another scale than those of the training, or None.

    Dark images are honest if they hold whole numbers: those from 0 to 255, divided by 255, would not be whole.

    name: the name of the images' file.
    images: uint8 or float32 [n, c, h, w]: an array, or a StreamedImages.
    state: of a trained net.
    where: the name of the state.
    """
    if images.dtype != np.float32 or from_toml(state.config_toml, where).normalize == "none":
        return None  # the state holds no statistics
    some = _sample(images)
    usual, found = np.abs(state.mean) + state.std, np.abs(_mean(some)) + some.std(axis=(0, 2, 3))
    varied = some.max(axis=(0, 2, 3)) > some.min(axis=(0, 2, 3))
    is_darker = bool((found * FAR < usual)[varied].all()) and not _is_whole(some)
    is_brighter = bool((found > FAR * usual)[varied].all())
    if not varied.any() or not (is_darker or is_brighter):
        return None
    values = f"values from {some.min():g} to {some.max():g}, mean {some.mean():.3g}"
    trained = f"{where} was trained on images with mean {_listed(state.mean)}"
    return f"images of {name} have {values}, but {trained}: scale them alike, or the answers mean nothing"


def _sample(images: Any) -> np.ndarray:
    """Return up to SEEN images, at equal distances, float64 [n, c, h, w]."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(SEEN, len(images))).astype(np.int64))
    return np.asarray(images[chosen], np.float64)


def _mean(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=(0, 2, 3))


def _is_whole(images: np.ndarray) -> bool:
    """Return whether all values are whole numbers, and not just 0 and 1."""
    return bool((images == np.rint(images)).all()) and images.max() > 1


def _listed(values: Sequence[float] | np.ndarray) -> str:
    """Return the numbers of up to three channels as text."""
    return ", ".join(f"{value:.3g}" for value in values[:3]) + ", ..." * (len(values) > 3)
