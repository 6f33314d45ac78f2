"""Learning rate schedules, in PyTorch's names and numerics."""

from fastnn.optim.lr_scheduler.base import LRScheduler
from fastnn.optim.lr_scheduler.composed import ChainedScheduler, SequentialLR
from fastnn.optim.lr_scheduler.cosine import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
)
from fastnn.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from fastnn.optim.lr_scheduler.decay import (
    ConstantLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from fastnn.optim.lr_scheduler.functions import LambdaLR, MultiplicativeLR
from fastnn.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
