"""Callbacks: what watches a fit, and what may end it."""

from fastnn.train.callbacks.base import Callback
from fastnn.train.callbacks.checkpoint import ModelCheckpoint
from fastnn.train.callbacks.logging import CSVLogger
from fastnn.train.callbacks.monitor import Monitor
from fastnn.train.callbacks.progress import ProgressBar
from fastnn.train.callbacks.schedule import LRSchedule
from fastnn.train.callbacks.stopping import EarlyStopping, TerminateOnNaN

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LRSchedule",
    "ModelCheckpoint",
    "Monitor",
    "ProgressBar",
    "TerminateOnNaN",
]
