"""The functions behind the modules: fastnn.ops under PyTorch's name for them."""

from fastnn.ops import (
    cross_entropy,
    dropout,
    gelu,
    linear,
    log_softmax,
    mse_loss,
    relu,
    sigmoid,
    softmax,
    tanh,
)

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
