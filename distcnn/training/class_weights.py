"""The weights of classes in the training loss, from the settings and the exact counts of the training split.

As in PyTorch's `CrossEntropyLoss(weight)`, the mean over a batch is the weighted sum divided by the sum of the weights,
so that only the ratios of the weights matter. They are scaled so that their mean over the training samples is 1, which
keeps all sums in the range of the fixed point; the loss of an epoch, divided by its samples, is then the weighted mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from distcnn.errors import ConfigError
from distcnn.system.counts import counted

MOST = 2.0**14  # a block of losses of a heavier class might leave the range of the fixed point
MOST_TOLD = 10  # classes


def class_weights(
    setting: str | tuple[float, ...] | None, labels: np.ndarray, classes: Sequence[str]
) -> np.ndarray | None:
    """Return the weight of each class, float32 [classes], or None if all weigh the same.

    setting: the weights, or "balanced": a class then weighs the more, the fewer training samples it has: samples /
        (classes * samples of the class), as in scikit-learn; a class without samples weighs 0.
    labels: of the training split, int [n].
    classes: the names of the classes.

    Raises ConfigError if there are not as many weights as classes, or if they leave no sample or one class a weight.
    """
    if setting is None:
        return None
    counts: list[int] = np.bincount(labels, minlength=len(classes)).tolist()
    if isinstance(setting, str):
        return _scaled([1.0 / count if count else 0.0 for count in counts], counts, classes)
    if len(setting) != len(classes):
        some = ", ".join(classes[:3]) + (", ..." if classes[3:] else "")
        found = f"--class-weight has {counted(len(setting), 'weight')}"
        raise ConfigError(
            f"{found}, but the data have {counted(len(classes), 'class')} ({some}): give one for each"
        )
    return _scaled(setting, counts, classes)


def told(weights: np.ndarray | None, classes: Sequence[str]) -> Iterator[str]:
    """Yield a line with the weights of the first classes, if classes have weights."""
    if weights is not None:
        pairs = zip(weights[:MOST_TOLD], classes, strict=False)
        some = ", ".join(f"{name} {weight:.4g}" for weight, name in pairs)
        yield f"class weights: {some}{', ...' if len(classes) > MOST_TOLD else ''}"


def _scaled(weights: Sequence[float], counts: Sequence[int], classes: Sequence[str]) -> np.ndarray:
    """Return weights divided by their mean over the samples, float32; the arithmetic is the same on every machine.

    counts: the number of samples of each class.
    """
    used = [(weight, count) for weight, count in zip(weights, counts, strict=True) if count]
    heaviest = max(weight for weight, _ in used)
    if heaviest == 0.0:
        raise ConfigError("--class-weight gives no class with training images a weight: raise one of them")
    total = math.fsum(weight / heaviest * count for weight, count in used)
    scaled = [weight / heaviest * sum(counts) / total for weight in weights]
    top = max(range(len(scaled)), key=scaled.__getitem__)
    if scaled[top] > MOST:
        found = f"{classes[top]!r} weighs {scaled[top]:,.0f} times the mean over all training images"
        raise ConfigError(
            f"--class-weight: {found}; wanted at most {MOST:,.0f}: give weights nearer to each other"
        )
    return np.array(scaled, np.float32)
