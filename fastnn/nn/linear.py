"""Linear, the fully connected layer, and Identity."""

from __future__ import annotations

import math
from typing import Any

import fastnn
from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn import functional as F
from fastnn.nn import init
from fastnn.nn.module import Module
from fastnn.nn.parameter import Parameter


class Identity(Module):
    """y = x.

    Parameters:
        args, kwargs : anything, so that it can stand in for any layer; not used.

    Example:
        >>> import fastnn
        >>> fastnn.nn.Identity(54, bias=False)(fastnn.ones(2)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The input itself."""
        return input


class Linear(Module):
    """y = x Wᵀ + b.

    Parameters:
        in_features : int: length of x's last dimension.
        out_features : int: length of y's last dimension.
        bias : bool: whether b is there.
        device : "cpu" or None.
        dtype : of the parameters; None is float32.

    Weight (out_features, in_features) and bias (out_features,) start uniform in
    ±1/√in_features, drawn from fastnn's generator, as in PyTorch.

    Raises: TypeError, ValueError for sizes that are no integers or negative.

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
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = checks.size("Linear", "in_features", in_features)
        self.out_features = checks.size("Linear", "out_features", out_features)
        like = {"device": device, "dtype": checks.floating("Linear", dtype)}
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(fastnn.empty(shape, **like))
        self.bias = Parameter(fastnn.empty(shape[:1], **like)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
