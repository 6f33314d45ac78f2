"""Reductions over any dimensions: sum, mean, extrema and where they are.

Sums are taken in a fixed tree over the logical index, so neither threads nor strides nor
neighbours change a bit; the error grows with the logarithm of the length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastnn.ops._registry import (
    Gradients,
    Node,
    Tensor,
    gradient,
    no_gradient,
    op,
    public,
    reference,
)
from fastnn.ops.views import dimension

_sum, _mean, _amax, _amin = op("sum"), op("mean"), op("amax"), op("amin")
_argmax, _argmin = op("argmax"), op("argmin")
_div, _eq, _where = op("div"), op("eq"), op("where")
_reshape, _expand = op("reshape"), op("expand")

Dims = int | tuple[int, ...] | list[int] | None


class Extremum(NamedTuple):
    """What max and min along one dimension give."""

    values: Tensor
    indices: Tensor


def reduced_dims(dim: Dims) -> Any:
    """dim as the ops take it: none means all."""
    return () if dim is None else dim


@public(method=True)
def sum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Sum over dim (int, tuple, or None for all).

    Parameters: input : Tensor. keepdim : keep reduced dimensions with size 1.
        dtype : of the result; the input is converted first.
    Returns: input's dtype, int64 for integers and bool; fresh. The empty sum is 0.
    Gradient: gy, expanded.
    Raises: IndexError for a dimension that is not there.
    Example:
        >>> fastnn.sum(fastnn.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0)
        tensor([4., 6.])
    """
    if dtype is None:
        return _sum(input, reduced_dims(dim), keepdim)
    return _sum(input.to(dtype), reduced_dims(dim), keepdim).to(dtype)


@public(method=True)
def mean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Sum over dim divided by the count; float only. Gradient: gy / count, expanded."""
    return _mean(
        input if dtype is None else input.to(dtype), reduced_dims(dim), keepdim
    )


@public(method=True)
def amax(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest element over dim; NaN if there is one.

    Gradient: gy, in equal parts to all that are largest.
    Raises: ValueError where there is no element.
    """
    return _amax(input, reduced_dims(dim), keepdim)


@public(method=True)
def amin(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest element over dim. As amax."""
    return _amin(input, reduced_dims(dim), keepdim)


@public(method=True)
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index (int64) of the largest element, the first of several; of the flat tensor for
    dim None. Raises: ValueError where there is no element."""
    return _argmax(input, reduced_dims(dim), keepdim)


@public(method=True)
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index (int64) of the smallest element. As argmax."""
    return _argmin(input, reduced_dims(dim), keepdim)


def _along(input: Tensor, dim: int, keepdim: bool, arg: Any) -> Extremum:
    at = dimension("max" if arg is _argmax else "min", dim, input.ndim or 1)
    if input.ndim == 0:
        return Extremum(_reshape(input, ()), arg(input))
    index = arg(input, at, True)
    values = op("gather")(input, index, at)
    shape = index.shape if keepdim else (*index.shape[:at], *index.shape[at + 1 :])
    return Extremum(_reshape(values, shape), _reshape(index, shape))


@public(method=True)
def max(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Any:
    """The largest element; along dim, (values, indices); with a tensor, maximum.

    Gradient: for the whole tensor as amax; along dim to the element at the index.
    """
    if isinstance(dim, Tensor):
        return op("maximum")(input, dim)
    return _amax(input, ()) if dim is None else _along(input, dim, keepdim, _argmax)


@public(method=True)
def min(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Any:
    """The smallest element; along dim, (values, indices); with a tensor, minimum. As max."""
    if isinstance(dim, Tensor):
        return op("minimum")(input, dim)
    return _amin(input, ()) if dim is None else _along(input, dim, keepdim, _argmin)


def _with_ones(node: Node, g: Tensor) -> Tensor:
    """g with the reduced dimensions back, size 1."""
    dims, keepdim = node.attrs
    if keepdim:
        return g
    shape = list(node.shape(0))
    chosen = (dims,) if isinstance(dims, int) else dims
    for d in chosen or range(len(shape)):
        if shape:
            shape[d] = 1
    return _reshape(g, shape)


@gradient("sum")
def _(node: Node, gy: Tensor) -> Gradients:
    return (_expand(_with_ones(node, gy), node.shape(0)),)


@gradient("mean")
def _(node: Node, gy: Tensor) -> Gradients:
    count = 1
    for a, b in zip(node.shape(0), _with_ones(node, gy).shape, strict=True):
        count *= a if b == 1 else 1
    return (_expand(_div(_with_ones(node, gy), count), node.shape(0)),)


def _extremum_gradient(node: Node, gy: Tensor) -> Gradients:
    x, y = node.saved
    hit = _eq(x, _with_ones(node, y))
    dims, _ = node.attrs
    count = _sum(hit, dims, True)
    return (_where(hit, _div(_with_ones(node, gy), count), 0.0),)


gradient("amax", saves={"x": "x", "y": "x"})(_extremum_gradient)
gradient("amin", saves={"x": "x", "y": "x"})(_extremum_gradient)
no_gradient("argmax", "argmin")


def _axes(x: Any, dims: Any) -> Any:
    if np.ndim(x) == 0:  # takes dim -1 and 0, which NumPy refuses
        return None
    return dims if isinstance(dims, int) else tuple(dims) or None


def _axis(x: Any, dims: Any) -> Any:
    return dims[0] if isinstance(dims, tuple) and dims else _axes(x, dims)


@reference("sum")
def _(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.sum(x, axis=_axes(x, dims), keepdims=keepdim)


@reference("mean")
def _(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.mean(x, axis=_axes(x, dims), keepdims=keepdim)


@reference("amax")
def _(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.max(x, axis=_axes(x, dims), keepdims=keepdim)


@reference("amin")
def _(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.min(x, axis=_axes(x, dims), keepdims=keepdim)


@reference("argmax")
def _(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.argmax(x, axis=_axis(x, dims), keepdims=keepdim)


@reference("argmin")
def _(x: Any, dims: Any = (), keepdim: bool = False) -> Any:
    return np.argmin(x, axis=_axis(x, dims), keepdims=keepdim)
