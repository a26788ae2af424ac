"""The classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from distcnn.config.types import CLASSIFY
from distcnn.sklearn.estimator import CNN


class CNNClassifier(ClassifierMixin, CNN):
    """A convolutional network that tells which of several classes an image is of.

    See `CNN` for the parameters and attributes.

    classes_: the classes, in the order of the columns of `predict_proba`.
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any) -> CNNClassifier:
        """Train on images and their classes, and return this estimator.

        X: (n, h, w), (n, c, h, w), (n, h, w, c) or other axes, or (n, features) with `image_shape`.
        y: (n,), the class of each image: numbers or text.
        """
        images, labels = self._read(X, y)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has 1 class, {labels.tolist()[0]!r}; wanted two or more")
        self._train(images, numbers, task=CLASSIFY)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each image, (n,)."""
        numbers, _ = self._predictions(X)
        return self.classes_[numbers]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, float32 (n, classes)."""
        return self._predictions(X)[1]
