"""Spread and size: var, std, norm; and running sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    op,
    public,
    reference,
)
from fastnn.ops.reductions import Dims, reduced_dims

_sum, _mean, _amax, _amin = op("sum"), op("mean"), op("amax"), op("amin")
_sub, _mul, _div, _sqrt = op("sub"), op("mul"), op("div"), op("sqrt")
_abs, _pow, _eq, _where, _ne = op("abs"), op("pow"), op("eq"), op("where"), op("ne")
_reshape, _slice, _cumsum = op("reshape"), op("slice"), op("cumsum")


def _expect_float(name: str, x: Any) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype.name if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f"{name}: expected a tensor of dtype float32 or float64, got {got} "
            "(hint: .float())"
        )


def _moments(
    name: str, input: Tensor, dim: Any, unbiased: Any, correction: Any, keepdim: bool
) -> tuple[Tensor, Tensor]:
    """Variance and mean; the mean is taken first, so that no digits cancel."""
    _expect_float(name, input)
    if isinstance(dim, bool):  # var(x, unbiased)
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}: expected unbiased or correction, got both")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    dims = reduced_dims(dim)
    mean = _mean(input, dims, True)
    d = _sub(input, mean)
    total = _sum(_mul(d, d), dims, keepdim)
    count = input.numel() // builtin_max(1, mean.numel())
    left = builtin_max(0.0, float(count) - correction)
    return _div(total, left), mean if keepdim else _reshape(mean, total.shape)


builtin_max = max


def _root(x: Tensor) -> Tensor:
    """sqrt(x), whose gradient is 0 where x is 0."""
    zero = _eq(x, 0)
    return _where(zero, 0.0, _sqrt(_where(zero, 1.0, x)))


@public(method=True, composite=True)
def var(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance over dim: sum of (input - mean)^2 divided by (count - correction).

    Parameters: input : float Tensor. dim : int, tuple, or None for all. correction : number,
        1 by default (Bessel's); unbiased=False is correction=0. keepdim : keep reduced
        dimensions with size 1.
    Returns: input's dtype; fresh. NaN where count and correction are equal.
    Gradient: gy 2 (input - mean) / (count - correction).
    Raises: TypeError for integers; IndexError for a dimension that is not there.
    Example:
        >>> fastnn.var(fastnn.tensor([1.0, 2.0, 3.0]))
        tensor(1.)
    """
    return _moments("var", input, dim, unbiased, correction, keepdim)[0]


@public(method=True, composite=True)
def std(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation over dim, the root of var. As var.

    Gradient: gy (input - mean) / ((count - correction) y), 0 where y is 0.
    """
    return _root(_moments("std", input, dim, unbiased, correction, keepdim)[0])


@public(composite=True)
def var_mean(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(variance, mean) over dim. As var."""
    return _moments("var_mean", input, dim, unbiased, correction, keepdim)


@public(composite=True)
def std_mean(
    input: Tensor,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(standard deviation, mean) over dim. As std."""
    v, mean = _moments("std_mean", input, dim, unbiased, correction, keepdim)
    return _root(v), mean


@public(method=True, composite=True)
def norm(
    input: Tensor,
    p: float | str | None = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    dtype: Any = None,
) -> Tensor:
    """The p-norm over dim, (sum |x|^p)^(1/p): length for 2, largest |x| for infinity.

    Parameters: input : float Tensor. p : number or "fro", which is 2; 0 counts what is not
        0; -inf takes the smallest. dim : int, tuple, or None for all. dtype : convert first.
    Returns: input's dtype; fresh.
    Gradient: gy sign(x) |x|^(p-1) / y^(p-1), 0 where y is 0; for infinity in equal parts
        to all that are largest.
    Raises: TypeError for integers; ValueError for another p.
    Example:
        >>> fastnn.tensor([3.0, 4.0]).norm()
        tensor(5.)
    """
    if dtype is not None:
        input = input.to(dtype)
    _expect_float("norm", input)
    if p is None or p == "fro":
        p = 2.0
    if isinstance(p, str) or p != p:
        raise ValueError(f'norm: expected a number or "fro", got {p!r}')
    dims = reduced_dims(dim)
    if p == 2:
        return _root(_sum(_mul(input, input), dims, keepdim))
    size = _abs(input)
    if p == 1:
        return _sum(size, dims, keepdim)
    if p in (math.inf, -math.inf):
        return (_amax if p > 0 else _amin)(size, dims, keepdim)
    if p == 0:
        return _sum(_ne(input, 0).to(input.dtype), dims, keepdim)
    zero = _eq(size, 0)
    power = _where(zero, 0.0 if p > 0 else math.inf, _pow(_where(zero, 1.0, size), p))
    total = _sum(power, dims, keepdim)
    none = _eq(total, 0)
    return _where(none, 0.0, _pow(_where(none, 1.0, total), 1 / p))


@public(method=True)
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sums along dim, in its order: y_i = x_0 + ... + x_i.

    Parameters: dtype : of the result; the input is converted first.
    Returns: input's shape and dtype, int64 for integers and bool; fresh. float32 is added
        in float64 and rounded for each result.
    Gradient: running sums of gy from the end.
    Example:
        >>> fastnn.cumsum(fastnn.tensor([1, 2, 3]), 0)
        tensor([1, 3, 6])
    """
    y = _cumsum(input if dtype is None else input.to(dtype), dim)
    return y if dtype is None else y.to(dtype)


def _reversed(x: Tensor, dim: int) -> Tensor:
    return _slice(x, dim, x.shape[dim] - 1, -1, -1) if x.numel() and x.ndim else x


@gradient("cumsum")
def _(node: Node, gy: Tensor) -> Gradients:
    (dim,) = node.attrs
    return (_reversed(_cumsum(_reversed(gy, dim), dim), dim),)


def _axis(x: Any, dim: Any) -> Any:
    return None if dim is None or np.ndim(x) == 0 else dim


@reference("var")
def _(x: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> Any:
    return np.var(x, axis=_axis(x, dim), ddof=correction, keepdims=keepdim)


@reference("std")
def _(x: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> Any:
    return np.std(x, axis=_axis(x, dim), ddof=correction, keepdims=keepdim)


@reference("var_mean")
def _(x: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> Any:
    how = {"axis": _axis(x, dim), "keepdims": keepdim}
    return np.var(x, ddof=correction, **how), np.mean(x, **how)


@reference("std_mean")
def _(x: Any, dim: Any = None, *, correction: float = 1, keepdim: bool = False) -> Any:
    how = {"axis": _axis(x, dim), "keepdims": keepdim}
    return np.std(x, ddof=correction, **how), np.mean(x, **how)


@reference("norm")
def _(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    size, how = np.abs(x), {"axis": _axis(x, dim), "keepdims": keepdim}
    if p in (math.inf, -math.inf):
        return (np.max if p > 0 else np.min)(size, **how)
    if p == 0:
        return np.sum(size != 0, **how)
    return np.sum(size**p, **how) ** (1 / p)


@reference("cumsum")
def _(x: Any, dim: int) -> Any:
    return np.cumsum(x, axis=dim).reshape(x.shape)
