"""Modules: networks as objects that own their parameters, in PyTorch's names."""

from fastnn.nn import functional, init, utils
from fastnn.nn._state import LoadResult
from fastnn.nn.activation import ReLU
from fastnn.nn.container import (
    ModuleDict,
    ModuleList,
    ParameterDict,
    ParameterList,
    Sequential,
)
from fastnn.nn.dropout import AlphaDropout, Dropout
from fastnn.nn.linear import Identity, Linear
from fastnn.nn.loss import CrossEntropyLoss
from fastnn.nn.maxout import Maxout
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter
from fastnn.nn.shape import Flatten, Unflatten

__all__ = [
    "AlphaDropout",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "Linear",
    "LoadResult",
    "Maxout",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "Sequential",
    "Unflatten",
    "functional",
    "init",
    "utils",
]
