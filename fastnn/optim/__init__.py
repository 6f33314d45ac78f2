"""Optimizers, in PyTorch's names and numerics."""

from fastnn.optim import lr_scheduler
from fastnn.optim.adadelta import Adadelta
from fastnn.optim.adagrad import Adagrad
from fastnn.optim.adam import Adam, AdamW
from fastnn.optim.nadam import NAdam
from fastnn.optim.optimizer import Optimizer, ParamGroup
from fastnn.optim.radam import RAdam
from fastnn.optim.rmsprop import RMSprop
from fastnn.optim.sgd import SGD
from fastnn.optim.sparse_adam import SparseAdam

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "NAdam",
    "Optimizer",
    "ParamGroup",
    "RAdam",
    "RMSprop",
    "SparseAdam",
    "lr_scheduler",
]
