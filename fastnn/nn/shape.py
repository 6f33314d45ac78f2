"""Layers that change the shape alone."""

from __future__ import annotations

import math
from typing import Any

from fastnn._core import Tensor
from fastnn.nn import _checks as checks
from fastnn.nn.module import Module


class Flatten(Module):
    """Dimensions start_dim to end_dim made one; all but the batch's by default.

    Parameters:
        start_dim : int: first dimension to merge.
        end_dim : int: last dimension to merge, itself included.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.Flatten()(fastnn.ones(32, 1, 28, 28)).shape)
        (32, 784)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """(..., a, b, ..., c, ...) to (..., a b ... c, ...); a view where memory allows."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One dimension taken apart into several; what Flatten undoes.

    Parameters:
        dim : int: the dimension.
        unflattened_size : tuple of int: what it becomes; one may be -1, for what is left.

    Raises: TypeError for sizes that are no tuple or list of integers; in forward(),
        ValueError where they do not multiply to the dimension's size.

    Example:
        >>> import fastnn
        >>> tuple(fastnn.nn.Unflatten(1, (1, 28, 28))(fastnn.ones(32, 784)).shape)
        (32, 1, 28, 28)
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        if not isinstance(unflattened_size, tuple | list):
            raise TypeError(
                "Unflatten: expected unflattened_size as a tuple of int, got "
                f"{unflattened_size!r}"
            )
        sizes = [
            checks.size("Unflatten", "unflattened_size", n, -1)
            for n in unflattened_size
        ]
        self.dim = dim
        self.unflattened_size = tuple(sizes)

    def forward(self, input: Tensor) -> Tensor:
        """(..., n, ...) to (..., *unflattened_size, ...); a view where memory allows."""
        shape = list(input.shape)
        if not -len(shape) <= self.dim < len(shape):
            raise IndexError(
                f"Unflatten: expected an input with dimension {self.dim}, got shape "
                f"{input.shape}"
            )
        at = self.dim % len(shape)
        known = math.prod(n for n in self.unflattened_size if n >= 0)
        sizes = [
            shape[at] // max(known, 1) if n < 0 else n for n in self.unflattened_size
        ]
        if math.prod(sizes) != shape[at] or self.unflattened_size.count(-1) > 1:
            raise ValueError(
                f"Unflatten: expected sizes that multiply to {shape[at]}, got "
                f"{self.unflattened_size}"
            )
        shape[at : at + 1] = sizes
        return input.reshape(shape)

    def extra_repr(self) -> str:
        """The arguments of the layer."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
