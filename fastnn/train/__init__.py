"""Training: the Trainer, its history, metrics, and callbacks that watch and stop."""

from fastnn.train.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LRSchedule,
    ModelCheckpoint,
    Monitor,
    ProgressBar,
    TerminateOnNaN,
)
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
from fastnn.train.trainer import Trainer

__all__ = [
    "F1",
    "MAE",
    "MSE",
    "R2",
    "Accuracy",
    "CSVLogger",
    "Callback",
    "Classification",
    "ConfusionMatrix",
    "EarlyStopping",
    "History",
    "LRSchedule",
    "Metric",
    "ModelCheckpoint",
    "Monitor",
    "Precision",
    "ProgressBar",
    "Recall",
    "TerminateOnNaN",
    "TopK",
    "Trainer",
]
