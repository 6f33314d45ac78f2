"""The functions behind the modules: fastnn.ops under PyTorch's name for them."""

from fastnn.ops.activations import gelu, relu, sigmoid, tanh
from fastnn.ops.losses import cross_entropy, log_softmax, mse_loss, softmax
from fastnn.ops.products import linear
from fastnn.ops.random import dropout

__all__ = [
    "cross_entropy",
    "dropout",
    "gelu",
    "linear",
    "log_softmax",
    "mse_loss",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
