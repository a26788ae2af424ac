"""How pictures show the pixels of images."""

from __future__ import annotations

import numpy as np


def limits_of(images: np.ndarray) -> tuple[float, float]:
    """Return the pixel values to be shown as black and as white; images: those that are shown together."""
    if images.dtype == np.uint8 or not images.size:
        return 0, 255
    return float(images.min()), float(images.max())


def shown(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return an image [c, h, w] in the form for Matplotlib: values from 0 to 1, [h, w, 3] if c = 3, else channel 0.

    low, high: the values to be shown as black and as white.
    """
    scaled = np.clip((image - low) / max(high - low, 1e-30), 0, 1)
    return scaled.transpose(1, 2, 0) if len(image) == 3 else scaled[0]
