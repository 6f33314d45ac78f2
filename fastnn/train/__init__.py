"""Metrics, and the history of a fit."""

from fastnn.train.history import History
from fastnn.train.metrics import (
    F1,
    MAE,
    MSE,
    R2,
    Accuracy,
    Classification,
    ConfusionMatrix,
    Metric,
    Precision,
    Recall,
    TopK,
)

__all__ = [
    "F1",
    "MAE",
    "MSE",
    "R2",
    "Accuracy",
    "Classification",
    "ConfusionMatrix",
    "History",
    "Metric",
    "Precision",
    "Recall",
    "TopK",
]
