"""Linear: the fully connected layer."""

from __future__ import annotations

import math
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import functional as F
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


class Linear(Module):
    """y = x Wᵀ + b.

    Parameters:
        in_features : int: length of x's last dimension.
        out_features : int: length of y's last dimension.
        bias : bool: whether b is there.
        dtype : of the parameters; None is float32.

    Weight (out_features, in_features) and bias (out_features,) start uniform in
    ±1/√in_features, drawn from fastnn's generator, as in PyTorch.

    Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, section 4.6, with
        PyTorch's scale, kaiming_uniform(a=√5).

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.Linear(4, 2)
        >>> tuple(layer(fastnn.ones(3, 4)).shape)
        (3, 2)
    """

    weight: Parameter  # (out_features, in_features)
    bias: Parameter | None  # (out_features,)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        dtype = fastnn.float32 if dtype is None else dtype
        self.weight = Parameter(fastnn.empty(out_features, in_features, dtype=dtype))
        self.bias = Parameter(fastnn.empty(out_features, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        with fastnn.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
