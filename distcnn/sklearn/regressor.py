"""The regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags

from distcnn.config.types import REGRESS
from distcnn.sklearn.estimator import CNN


class CNNRegressor(RegressorMixin, CNN):
    """A convolutional network that predicts a number for each image, or several.

    See `CNN` for the parameters and attributes. The net learns targets minus their mean over their standard deviation;
    predictions are in the unit of the targets.
    """

    _is_row: bool  # whether y had one axis

    def fit(self, X: Any, y: Any) -> CNNRegressor:
        """Train on images and their targets, and return this estimator.

        X: (n, h, w), (n, c, h, w), (n, h, w, c) or other axes, or (n, features) with `image_shape`.
        y: (n,) or (n, targets), numbers.
        """
        images, targets = self._read(X, y, multi_output=True, y_numeric=True)
        self._is_row = targets.ndim == 1
        self._train(images, targets.astype(np.float32), task=REGRESS)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the targets of each image, float64 (n,) or (n, targets), as y had them."""
        found = self._predictions(X)[0].astype(np.float64)
        return found[:, 0] if self._is_row else found

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
