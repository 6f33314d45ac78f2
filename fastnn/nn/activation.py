"""Activations as modules."""

from __future__ import annotations

from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn.module import Module


class ReLU(Module):
    """y = max(x, 0).

    Example:
        >>> import fastnn
        >>> fastnn.nn.ReLU()(fastnn.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape."""
        return F.relu(x)
