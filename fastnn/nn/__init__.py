"""Modules: networks as objects that own their parameters, in PyTorch's names."""

from fastnn.nn import functional, init, utils
from fastnn.nn.activation import ReLU
from fastnn.nn.container import Sequential
from fastnn.nn.linear import Linear
from fastnn.nn.loss import CrossEntropyLoss
from fastnn.nn.module import LoadResult, Module
from fastnn.nn.parameter import Parameter

__all__ = [
    "CrossEntropyLoss",
    "Linear",
    "LoadResult",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "functional",
    "init",
    "utils",
]
