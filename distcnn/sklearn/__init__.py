"""Estimators in the conventions of scikit-learn, for its pipelines, searches and scores; they need scikit-learn."""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ImportError(
        "scikit-learn is not installed, which distcnn.sklearn needs: pip install 'distcnn[sklearn]'"
    ) from None

from distcnn.sklearn.classifier import CNNClassifier
from distcnn.sklearn.regressor import CNNRegressor

__all__ = ["CNNClassifier", "CNNRegressor"]
