"""Optimizers, in PyTorch's names and numerics."""

from fastnn.optim.optimizer import Optimizer, ParamGroup
from fastnn.optim.sgd import SGD

__all__ = ["SGD", "Optimizer", "ParamGroup"]
