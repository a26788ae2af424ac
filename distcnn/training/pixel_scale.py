"""Images on another scale than those of the training, such as 0 to 255 for 0 to 1, on which a net gives nonsense."""

from typing import Any

import numpy as np

from distcnn.run.state import State

MOST = 256  # images that are looked at
FAR = 20.0  # normalized images whose size or contrast differs by this factor from 1 are on another scale
FEW = 4  # images that may have no contrast by chance


def other_scale(images: Any, state: State) -> str:
    """Return a line for the user if images seem to be on another scale than those of the training; else "".

    images: [n, c, h, w], an array or a StreamedImages.
    state: of the trained net. Bytes have one scale; nothing is known of images that training has not normalized.
    """
    is_known = state.dtype not in ("", "uint8") and bool(np.any(state.mean) or np.any(state.std != 1))
    if not is_known or not len(images):
        return ""
    some = np.asarray(images[np.linspace(0, len(images) - 1, min(MOST, len(images))).astype(np.int64)])
    mean, std = (values[:, None, None].astype(np.float64) for values in (state.mean, state.std))
    normalized = (some - mean) / std
    size, contrast = float(np.sqrt(np.mean(normalized**2))), float(normalized.std())
    if size < FAR and (contrast > 1 / FAR or len(some) < FEW):
        return ""
    found = f"pixels from {some.min():g} to {some.max():g} here"
    trained = f"mean {state.mean[0]:g}, standard deviation {state.std[0]:g} of channel 0 in the training"
    return f"{found}, but {trained}: are both scaled alike?"
