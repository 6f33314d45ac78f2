"""Order: argsort, sort, topk. Stable; NaN counts as larger than any number."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastnn.ops._registry import Tensor, no_gradient, op, public, reference
from fastnn.ops.views import dimension

_argsort, _gather, _copy = op("argsort"), op("gather"), op("copy")


class Sorted(NamedTuple):
    """What sort and topk give."""

    values: Tensor
    indices: Tensor


@public(method=True)
def argsort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = True
) -> Tensor:
    """The indices (int64) that put input in order along dim.

    Parameters: descending : the largest first. stable : equal elements keep their order;
        they do in any case. NaN counts as larger than any number.
    Returns: input's shape; fresh. Raises: IndexError for a dimension that is not there.
    Example:
        >>> fastnn.argsort(fastnn.tensor([3.0, 1.0, 2.0]))
        tensor([1, 2, 0])
    """
    return _argsort(input, dim, descending)


@public(method=True, composite=True)
def sort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = True
) -> Sorted:
    """(values, indices) in order along dim. As argsort. Gradient: gy, to where each came from.

    Example:
        >>> fastnn.sort(fastnn.tensor([3.0, 1.0, 2.0])).values
        tensor([1., 2., 3.])
    """
    index = _argsort(input, dim, descending)
    if input.ndim == 0:
        return Sorted(_copy(input), index)
    return Sorted(_gather(input, index, dim), index)


@public(method=True, composite=True)
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Sorted:
    """(values, indices) of the k largest (or smallest) along dim, the first of equals first.

    Parameters: k : int, 0 to the size along dim. largest : False for the smallest.
        sorted : they come in order in any case.
    Gradient: gy, to where each came from.
    Raises: ValueError for a k out of range.
    Example:
        >>> fastnn.topk(fastnn.tensor([3.0, 1.0, 2.0]), 2).indices
        tensor([0, 2])
    """
    at = dimension("topk", dim, input.ndim or 1)
    size = input.shape[at] if input.ndim else 1
    if not 0 <= k <= size:
        raise ValueError(f"topk: expected k from 0 to {size}, got {k}")
    index = _argsort(input, at, largest, k)
    if input.ndim == 0:
        return Sorted(_copy(input), index)
    return Sorted(_gather(input, index, at), index)


no_gradient("argsort")


def _order(x: Any, dim: int, descending: bool) -> Any:
    """NaN as the largest; equal elements in their own order."""
    if x.ndim == 0:
        return np.zeros((), np.int64)
    key = (
        np.where(np.isnan(x), np.inf, x) if x.dtype.kind == "f" else x.astype(np.int64)
    )
    last = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    if descending:
        key, last = ~key if key.dtype.kind == "i" else -key, ~last
    first = np.argsort(key, axis=dim, kind="stable")
    second = np.argsort(np.take_along_axis(last, first, dim), axis=dim, kind="stable")
    return np.take_along_axis(first, second, dim)


@reference("argsort")
def _(x: Any, dim: int = -1, descending: bool = False, k: int = -1) -> Any:
    index = _order(x, dim, descending)
    return index if k < 0 or x.ndim == 0 else np.take(index, range(k), axis=dim)


@reference("sort")
def _(x: Any, dim: int = -1, descending: bool = False) -> Any:
    index = _order(x, dim, descending)
    return (x if x.ndim == 0 else np.take_along_axis(x, index, dim)), index


@reference("topk")
def _(x: Any, k: int, dim: int = -1, largest: bool = True) -> Any:
    index = _order(x, dim, largest)
    if x.ndim == 0:
        return x, index
    index = np.take(index, range(k), axis=dim)
    return np.take_along_axis(x, index, dim), index
