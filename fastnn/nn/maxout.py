"""Maxout: the largest of several affine maps."""

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


class Maxout(Module):
    """y_i = max_j (x W_jᵀ + b_j)_i, over the pieces j = 1 ... k.

    Parameters:
        in_features : int: length of x's last dimension.
        out_features : int: length of y's last dimension.
        pieces : int >= 1: affine maps that each output is the largest of.
        bias : bool: whether the b_j are there.
        device : "cpu" or None.
        dtype : of the parameters; None is float32.

    Weight (pieces * out_features, in_features) holds W_1 above W_2 and so on, bias
    (pieces * out_features,) likewise; both start as Linear's. Where pieces are equal the
    gradient goes to them in equal parts.

    Raises: TypeError, ValueError for sizes that are no integers or too small.

    Source: Goodfellow, Warde-Farley, Mirza, Courville, Bengio, "Maxout networks", 2013,
        section 3.

    Example:
        >>> import fastnn
        >>> layer = fastnn.nn.Maxout(4, 2, pieces=3)
        >>> tuple(layer(fastnn.ones(5, 4)).shape), tuple(layer.weight.shape)
        ((5, 2), (6, 4))
    """

    weight: Parameter  # (pieces * out_features, in_features)
    bias: Parameter | None  # (pieces * out_features,)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        pieces: int = 2,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = checks.size("Maxout", "in_features", in_features)
        self.out_features = checks.size("Maxout", "out_features", out_features)
        self.pieces = checks.size("Maxout", "pieces", pieces, 1)
        like = {"device": device, "dtype": checks.floating("Maxout", dtype)}
        shape = (self.pieces * self.out_features, self.in_features)
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
        z = F.linear(input, self.weight, self.bias)
        return z.reshape(*z.shape[:-1], self.pieces, self.out_features).amax(dim=-2)

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"pieces={self.pieces}, bias={self.bias is not None}"
        )
