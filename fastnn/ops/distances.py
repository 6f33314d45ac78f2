"""Lengths and angles of vectors: normalize, cosine_similarity, pairwise_distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.ops._checks import expect_tensors
from fastnn.ops._registry import Tensor, op, public, reference
from fastnn.ops.statistics import norm

_add, _sub, _mul, _div = op("add"), op("sub"), op("mul"), op("div")
_sum, _clamp_min = op("sum"), op("clamp_min")


def _expect_floats(name: str, **operands: Any) -> None:
    expect_tensors(name, **operands)
    for said, x in operands.items():
        if not x.is_floating_point():
            raise TypeError(
                f"{name}: expected {said} of a float dtype, got {x.dtype.name} "
                "(hint: .float())"
            )


@public(composite=True)
def normalize(
    input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12
) -> Tensor:
    """input / max(||input||_p, eps), the norm over dim.

    Parameters: input : float Tensor. p : number. dim : int or tuple. eps : number above 0.
    Returns: input's shape and dtype; fresh. Gradient: through both.
    Raises: TypeError for integers; IndexError for a dimension that is not there.
    Example:
        >>> fastnn.normalize(fastnn.tensor([[3.0, 4.0]]))
        tensor([[0.6, 0.8]])
    """
    _expect_floats("normalize", input=input)
    return _div(input, _clamp_min(norm(input, p, dim, True), eps))


@public(composite=True)
def cosine_similarity(
    x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8
) -> Tensor:
    """Cosine of the angle between x1 and x2: x1 . x2 / (max(|x1|, eps) max(|x2|, eps)).

    Parameters: x1, x2 : float Tensors (shapes broadcast). dim : int, summed over. eps :
        number above 0.
    Returns: broadcast shape without dim; fresh; in [-1, 1] but for rounding.
    Gradient: through all.
    Raises: TypeError for integers; IndexError for a dimension that is not there.
    Example:
        >>> fastnn.cosine_similarity(fastnn.ones(1, 2), fastnn.ones(1, 2))
        tensor([1.])
    """
    _expect_floats("cosine_similarity", x1=x1, x2=x2)
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    a, b = x1.expand(shape), x2.expand(shape)
    a = _div(a, _clamp_min(norm(a, 2, dim, True), eps))
    b = _div(b, _clamp_min(norm(b, 2, dim, True), eps))
    return _sum(_mul(a, b), dim, False)


@public(composite=True)
def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """||x1 - x2 + eps||_p over the last dimension.

    Parameters: x1, x2 : float Tensors (shapes broadcast). p : number. eps : number, added
        to every difference. keepdim : keep the last dimension with size 1.
    Returns: broadcast shape without the last dimension; fresh. Gradient: through all.
    Raises: TypeError for integers.
    Example:
        >>> fastnn.pairwise_distance(fastnn.zeros(1, 2), fastnn.ones(1, 2), eps=0)
        tensor([1.4142])
    """
    _expect_floats("pairwise_distance", x1=x1, x2=x2)
    return norm(_add(_sub(x1, x2), eps), p, -1, keepdim)


def _length(x: Any, p: Any, axis: Any, keep: bool) -> Any:
    if p == np.inf:
        return np.max(np.abs(x), axis=axis, keepdims=keep)
    return np.sum(np.abs(x) ** p, axis=axis, keepdims=keep) ** (1 / p)


@reference("normalize")
def _(x: Any, p: Any = 2.0, dim: Any = 1, eps: float = 1e-12) -> Any:
    return x / np.maximum(_length(x, p, dim, True), eps)


@reference("cosine_similarity")
def _(a: Any, b: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    a, b = np.broadcast_arrays(a, b)
    sizes = [np.maximum(_length(x, 2, dim, False), eps) for x in (a, b)]
    return np.sum(a * b, axis=dim) / (sizes[0] * sizes[1])


@reference("pairwise_distance")
def _(a: Any, b: Any, p: Any = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    return _length(a - b + eps, p, -1, keepdim)
